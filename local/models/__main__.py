"""`python -m local.models [--host 127.0.0.1] [--port 8092]`: serves the models until it is stopped."""

from local.models import serve


def main() -> None:
    """Reads the command line and serves."""
    host, port = serve.address("python -m local.models", 8092)
    # After the number of threads is set, which numpy reads when it is imported.
    from local.models import app

    serve.run("models", app.create, host, port)


if __name__ == "__main__":
    main()
