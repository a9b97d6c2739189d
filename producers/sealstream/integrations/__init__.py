"""Frameworks in which requests become audit events: `sealstream.integrations.asgi` for FastAPI and Starlette."""
