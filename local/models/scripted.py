"""`python -m local.models.scripted --port N`: models that answer after fixed times, for tests and for the bench.

Hearing answers with the true words of utterances it was told of (`POST /scripted/utterances`), the language
model with a fixed text or tool call (`/scripted/reply`); each can be told to fail (`/scripted/failures`), to take
other times (`/scripted/times`), and counts its requests (`GET /scripted/stats`). `DELETE /scripted` starts anew.
"""

from local.models import serve


def main() -> None:
    """Reads the command line and serves."""
    host, port = serve.address("python -m local.models.scripted", 8094)
    # After the number of threads is set, which numpy reads when it is imported.
    from local.models import scripted_app

    serve.run("scripted", scripted_app.create, host, port)


if __name__ == "__main__":
    main()
