"""A server that speaks the OpenAI protocol, and a page to look at a model: `scripts/serve.py`.

`server.py` starts it, and `guard.py` lets requests in. `app.py` answers them: `bodies.py` and `protocol.py`
read what comes in; `generated.py`, `replies.py` and `responses.py` write what goes out. `scheduler.py` is the
one thread that computes the jobs of `jobs.py`.
"""
