"""The Videos API on one's own machine: what knows HTTP.

    schema, form     what may be asked, the same for JSON and multipart
    api              the routes
    jobs             the lease table, on the row that is the video
    store            files, in a folder or any bucket that fsspec opens
    worker           takes jobs, makes clips, hands them in
    media            uploads, looked at in a process of their own
    moderation       what is refused
    hooks            webhooks, signed and sent
    keys             who may ask, and how much
    studio           the page at `/`
    supervisor       the processes of `worldtube serve`

Workers alone know models. The API's process never loads torch: workers announce what theirs can do.
"""
