# The API and its workers; compose.yaml says which of them a container is. Without a GPU: the CPU build of torch.
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE constraints.txt ./
COPY src src
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python -m venv /opt/worldtube \
    && /opt/worldtube/bin/pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -c constraints.txt \
       '.[serve,postgres]' s3fs

FROM python:3.11-slim
COPY --from=build /opt/worldtube /opt/worldtube
RUN useradd --create-home --uid 1000 worldtube && install -d -o worldtube /data
USER worldtube
ENV PATH=/opt/worldtube/bin:$PATH WORLDTUBE_HOME=/data PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8000
ENTRYPOINT ["worldtube"]
CMD ["serve", "--host", "0.0.0.0"]
