"""The routes of the API. Owns paths, status codes and headers; what they mean is decided in the rooms beside it."""
