"""The addresses of the server: requests become jobs of the scheduler, and what these tell becomes replies."""

import asyncio
import contextlib
import dataclasses
import functools
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from lm_keras.errors import InputError
from lm_keras.sampling.continuation import GrowingContinuation
from lm_keras.serving import page, protocol, replies, responses
from lm_keras.serving.bodies import Refused, read_object
from lm_keras.serving.generated import GeneratedTexts, Mailbox
from lm_keras.serving.guard import COUNTS
from lm_keras.serving.jobs import CallJob, GenerationJob, Job
from lm_keras.serving.models import Models, ServedModel
from lm_keras.serving.protocol import Asked, GivenTexts
from lm_keras.serving.responses import EventStream, unless_gone
from lm_keras.serving.scheduler import Scheduler
from lm_keras.serving.settings import ServeOptions

BODY_SECONDS = 15.0
"""A request whose body takes longer is refused."""

STOP_SECONDS = 20.0
"""How long the server waits at its end for what is computed, or loaded, and cannot be interrupted."""

DRAINED = 64 * 2**20
"""Bytes of a body that is too long which are read all the same, so that its sender can read why."""

_CLOSES = {"connection": "close"}
"""A header: where the rest of a body is not read, the connection has no other use."""

_CUT = ("cut_end", "cut_start")
"""Where `too_long` is one of them, a model does not read the whole of a long text."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class App:
    """Answers requests.

    Args:
        models: of the server.
        scheduler: that computes; it is started and stopped with the app.
        options: of the server.
    """

    def __init__(self, models: Models, scheduler: Scheduler, options: ServeOptions):
        self._models, self._scheduler, self._options = models, scheduler, options
        self._page = page.content(options.max_tokens)
        self._page_headers = page.headers(self._page)

    def starlette(self) -> Starlette:
        """Return the app as ASGI knows it."""
        posts: dict[str, Handler] = {
            "completions": self._completions,
            "chat/completions": self._chat,
            "score": self._score,
            "classify": self._classify,
            "tag": self._tag,
            "translate": self._translate,
        }
        routes = [Route(f"/v1/{name}", handler, methods=["POST"]) for name, handler in posts.items()]
        routes += [
            Route("/v1/models", self._list, methods=["GET"]),
            Route("/v1/models/{name}", self._one, methods=["GET"]),
            Route("/", self._show, methods=["GET"]),
        ]
        app = Starlette(routes=routes, lifespan=self._lifespan, exception_handlers=responses.HANDLERS)
        app.router.redirect_slashes = False
        return app

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self._scheduler.start()
        watching = self._models.watch() if self._options.reload else None
        yield
        self._models.stop_watching()
        await asyncio.to_thread(self._scheduler.stop, STOP_SECONDS)
        if watching:
            await asyncio.to_thread(watching.join, STOP_SECONDS)

    async def _show(self, request: Request) -> Response:
        return HTMLResponse(self._page, headers=self._page_headers)

    async def _list(self, request: Request) -> Response:
        data = [served.to_json() for served in self._models.all]
        return JSONResponse({"object": "list", "data": data})

    async def _one(self, request: Request) -> Response:
        return JSONResponse(self._models.named(request.path_params["name"]).to_json())

    async def _completions(self, request: Request) -> Response:
        asked = protocol.completion_asked(await self._body(request), self._options)
        served = self._served(request, asked.model, "completions")

        def begin(prompt: str) -> tuple[list[GrowingContinuation], int]:
            if served.lm.answer.fills(prompt):
                raise InputError("the prompt has a [MASK], which is not filled here; leave it out")
            rows, left_out = served.lm.answer.asked(prompt, asked.settings), 0
            if asked.settings.long_prompt == "keep_end":
                left_out = 1 + len(served.lm.tokenizer.encode_prompt(prompt)) - len(rows[0].prompt_ids)
            return rows, left_out

        return await self._generated(request, served, asked, begin, "completion")

    async def _chat(self, request: Request) -> Response:
        asked = protocol.chat_asked(await self._body(request), self._options)
        served = self._served(request, asked.model, "chat/completions")

        def begin(messages: list[Any]) -> tuple[list[GrowingContinuation], int]:
            return served.lm.answer.asked_in_turn(messages, asked.settings)

        return await self._generated(request, served, asked, begin, "chat")

    async def _generated(
        self, request: Request, served: ServedModel, asked: Asked, begin: Callable, kind: str
    ) -> Response:
        """Answer a request to generate."""
        box = Mailbox(self._scheduler)
        echoed: list[Any] = [()] * len(asked.prompts)
        if asked.echo and asked.logprobs is not None:
            work = functools.partial(self._scores, served, asked.logprobs, "encode_prompt")
            echoed = await self._called(request, work, asked.prompts)
        jobs = [self._job(served, asked, begin, n, box) for n in range(len(asked.prompts))]
        if asked.generates:
            box.post(jobs)
        else:
            work = functools.partial(self._lengths, served)
            for job, length in zip(jobs, await self._called(request, work, asked.prompts)):
                job.read = length
        texts = GeneratedTexts(served, asked, kind, jobs, echoed, request.scope[COUNTS])
        try:
            if asked.stream:
                first = await unless_gone(request, box.next())
                return EventStream(texts.stream(box, first), box)
            return JSONResponse(await unless_gone(request, texts.whole(box)))
        except BaseException:
            box.leave()
            raise

    def _job(self, served: ServedModel, asked: Asked, begin: Callable, number: int, box: Mailbox) -> Job:
        """Return the job of a prompt."""
        prompt, tell = asked.prompts[number], box.teller(number)
        settings = asked.settings

        def checked() -> list[GrowingContinuation]:
            rows, left_out = begin(prompt)
            job.read, job.left_out = len(rows[0].prompt_ids), max(0, left_out)
            self._check_prompt(job.read, "prompt" if isinstance(prompt, str) else "messages")
            return rows

        def searched(prompts: list[Any]) -> list[Any]:
            checked()
            return [served.lm.answer.searched(one, settings) for one in prompts]

        job: Job = GenerationJob(served.lm.answer, checked, settings, asked.stream, tell)
        if settings.num_beams > 1:
            job = CallJob(searched, [prompt], None, tell)
        return job

    def _check_prompt(self, tokens: int, field: str) -> None:
        most = self._options.max_prompt
        if tokens > most:
            raise Refused(
                400, f"the text has {tokens:,} tokens, and this server reads {most:,} at most", field
            )

    def _lengths(self, served: ServedModel, texts: list[str]) -> list[int]:
        """Return how many tokens the model reads of prompts."""
        found = [1 + len(served.lm.tokenizer.encode_prompt(text)) for text in texts]
        self._check_prompt(max(found), "prompt")
        return found

    async def _score(self, request: Request) -> Response:
        asked, served = await self._texts(request, "score", ("top_logprobs",))
        told = asked.settings.get("top_logprobs", 0)
        if type(told) is not int or not 0 <= told <= protocol.MOST_TOLD:
            raise Refused(400, f"expected top_logprobs from 0 to {protocol.MOST_TOLD}", "top_logprobs")
        work = functools.partial(self._scores, served, told, "encode")
        found = await self._called(request, work, asked.texts)
        items = [replies.scored(served.lm.tokenizer, tokens) for tokens in found]
        return JSONResponse(replies.listed(served, items))

    def _scores(self, served: ServedModel, told: int, encode: str, texts: list[str]) -> list[Any]:
        """Return the scores of the tokens of texts."""
        ids = [list(getattr(served.lm.tokenizer, encode)(text)) for text in texts]
        for tokens in ids:
            self._check_prompt(len(tokens), "input" if encode == "encode" else "prompt")
        return [served.lm.token_scores(tokens, told) for tokens in ids]

    async def _classify(self, request: Request) -> Response:
        asked, served = await self._texts(request, "classify", ("too_long",))
        found = await self._answered(request, served, asked, "classify")
        return JSONResponse(replies.listed(served, [{**item, **how} for item, how in found]))

    async def _tag(self, request: Request) -> Response:
        asked, served = await self._texts(request, "tag", ("too_long",), words=True)
        found = await self._answered(request, served, asked, "tag")
        items = [{"spans": [span._asdict() for span in spans], **how} for spans, how in found]
        return JSONResponse(replies.listed(served, items))

    async def _translate(self, request: Request) -> Response:
        asked, served = await self._texts(request, "translate", (*protocol.OF_PAIRS, "too_long"))
        beams = asked.settings.get("num_beams", min(5, self._options.max_batch))
        settings = {"num_beams": beams, "num_samples": beams, **asked.settings}
        asked = dataclasses.replace(asked, settings=settings)
        found = await self._answered(request, served, asked, "targets", beams)
        items = [
            {
                "text": targets[0].text,
                "hypotheses": [{"text": one.text, "score": one.score} for one in targets],
                **how,
            }
            for targets, how in found
        ]
        return JSONResponse(replies.listed(served, items))

    async def _texts(
        self, request: Request, endpoint: str, names: tuple[str, ...], words: bool = False
    ) -> tuple[GivenTexts, ServedModel]:
        asked = protocol.texts_asked(await self._body(request), self._options, names, words)
        return asked, self._served(request, asked.model, endpoint)

    async def _answered(
        self, request: Request, served: ServedModel, asked: GivenTexts, method: str, rows: int = 1
    ) -> list[tuple[Any, dict[str, Any]]]:
        """Return what a method of the model makes of each text, and how much of the text it has read."""
        answer = served.lm.answer
        too_long = asked.settings.get("too_long", answer.usually_too_long)
        language = asked.settings.get("target_language")

        def work(texts: list[Any]) -> list[Any]:
            lengths = [answer.count_tokens(text, *([language] if language else [])) for text in texts]
            self._check_prompt(max(lengths), "input")
            if too_long == "error" and max(lengths) > answer.room:
                raise Refused(
                    400,
                    f"input has a text of {max(lengths):,} tokens, and the model reads {answer.room:,};"
                    " shorten it, or choose too_long=cut_end, cut_start or windows",
                    "input",
                )
            found = getattr(served.lm, method)(texts, **asked.settings)
            told = []
            for item, length in zip(found, lengths):
                is_cut = length > answer.room and too_long in _CUT
                read = answer.room if is_cut else length
                told.append((item, {"tokens": length, "tokens_read": read, "truncated": is_cut}))
            return told

        key = id(served.lm), method, json.dumps(asked.settings, sort_keys=True)
        return await self._called(request, work, asked.texts, key, rows)

    async def _called(
        self, request: Request, work: Callable, texts: list[Any], key: Hashable = None, rows: int = 1
    ) -> list[Any]:
        """Return what work makes of texts; those with the same key, one of their settings, share a call."""
        box = Mailbox(self._scheduler)
        box.post([CallJob(work, texts, key, box.teller(0), rows)])
        try:
            _, found = await unless_gone(request, box.next())
        except BaseException:
            box.leave()
            raise
        return found

    def _served(self, request: Request, name: str, endpoint: str) -> ServedModel:
        served = self._models.named(name)
        served.require(endpoint)
        request.scope[COUNTS]["model"] = served.name
        return served

    async def _body(self, request: Request) -> dict[str, Any]:
        """Return the JSON object of a request, whose body may be neither too long nor too slow."""
        parts, size, most = [], 0, self._options.max_body
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for part in request.stream():
                    size += len(part)
                    if size <= most:
                        parts.append(part)
                    elif size > DRAINED:
                        break
        except TimeoutError:
            raise Refused(408, "the body did not come in time; send it at once", headers=_CLOSES) from None
        if size > most:
            message, ends = f"the body has more than {most:,} bytes; send a shorter one", size > DRAINED
            raise Refused(413, message, code="too_long", headers=_CLOSES if ends else None)
        return read_object(b"".join(parts))
