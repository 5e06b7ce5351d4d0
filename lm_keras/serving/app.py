"""The addresses of the server: requests become jobs of the scheduler, and what these tell becomes replies."""

import asyncio
import contextlib
import dataclasses
import functools
import json
from collections.abc import AsyncIterator, Callable, Coroutine
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

DRAINED = 64 * 2**20
"""Bytes of a body that is too long which are read all the same, so that its sender can read why."""

_PAIRS = ("num_beams", "length_penalty", "no_repeat_ngram", "target_language", "too_long")

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
        self._page = page.content()

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
        return Starlette(
            routes=routes,
            lifespan=self._lifespan,
            exception_handlers=responses.HANDLERS,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self._scheduler.start()
        watching = self._models.watch() if self._options.reload else None
        yield
        self._models.stop_watching()
        await asyncio.to_thread(self._scheduler.stop)
        if watching:
            await asyncio.to_thread(watching.join)

    async def _show(self, request: Request) -> Response:
        return HTMLResponse(self._page, headers=page.headers(self._page))

    async def _list(self, request: Request) -> Response:
        data = [served.to_json() for served in self._models.all]
        return JSONResponse({"object": "list", "data": data})

    async def _one(self, request: Request) -> Response:
        return JSONResponse(self._models.named(request.path_params["name"]).to_json())

    async def _completions(self, request: Request) -> Response:
        asked = protocol.completion_asked(await self._body(request), self._options)
        served = self._served(request, asked.model, "completions")

        def begin(prompt: str) -> list[GrowingContinuation]:
            if served.lm.answer.fills(prompt):
                raise InputError("the prompt has a [MASK], which is not filled here; leave it out")
            return served.lm.answer.asked(prompt, asked.settings)

        return await self._generated(request, served, asked, begin, "completion")

    async def _chat(self, request: Request) -> Response:
        asked = protocol.chat_asked(await self._body(request), self._options)
        served = self._served(request, asked.model, "chat/completions")

        def begin(messages: list[Any]) -> list[GrowingContinuation]:
            return served.lm.answer.asked_in_turn(messages, asked.settings)

        return await self._generated(request, served, asked, begin, "chat")

    async def _generated(
        self, request: Request, served: ServedModel, asked: Asked, begin: Callable, kind: str
    ) -> Response:
        """Answer a request to generate."""
        box = Mailbox(self._scheduler)
        told = asked.logprobs if asked.echo else None
        echoed = [()] * len(asked.prompts)
        if told is not None:
            work = functools.partial(self._scores, served, told, "encode_prompt")
            echoed = await self._called(request, served, work, asked.prompts, ("score", told, "prompt"))
        jobs = [self._job(served, asked, begin, n, box) for n in range(len(asked.prompts))]
        if asked.generates:
            box.post(jobs)
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
            rows = begin(prompt)
            self._check_prompt(len(rows[0].prompt_ids))
            return rows

        def searched(prompts: list[Any]) -> list[Any]:
            checked()
            return [served.lm.answer.searched(one, settings) for one in prompts]

        if settings.num_beams > 1:
            return CallJob(searched, [prompt], None, tell)
        return GenerationJob(served.lm.answer, checked, settings, asked.stream, tell)

    def _check_prompt(self, tokens: int) -> None:
        most = self._options.max_prompt
        if tokens > most:
            raise InputError(f"the text has {tokens:,} tokens, and this server reads {most:,} at most")

    async def _score(self, request: Request) -> Response:
        asked, served = await self._texts(request, "score", ("top_logprobs",))
        told = asked.settings.get("top_logprobs", 0)
        if type(told) is not int or not 0 <= told <= protocol.MOST_TOLD:
            raise Refused(400, f"expected top_logprobs from 0 to {protocol.MOST_TOLD}", "top_logprobs")
        work = functools.partial(self._scores, served, told, "encode")
        found = await self._called(request, served, work, asked.texts, ("score", told, "text"))
        items = [replies.scored(served.lm.tokenizer, tokens) for tokens in found]
        return JSONResponse(replies.listed(served, items))

    def _scores(self, served: ServedModel, told: int, encode: str, texts: list[str]) -> list[Any]:
        """Return the scores of the tokens of texts."""
        ids = [list(getattr(served.lm.tokenizer, encode)(text)) for text in texts]
        for tokens in ids:
            self._check_prompt(len(tokens))
        return [served.lm.token_scores(tokens, told) for tokens in ids]

    async def _classify(self, request: Request) -> Response:
        asked, served = await self._texts(request, "classify", ("too_long",))
        found = await self._answered(request, served, asked, "classify")
        return JSONResponse(replies.listed(served, found))

    async def _tag(self, request: Request) -> Response:
        asked, served = await self._texts(request, "tag", ("too_long",), words=True)
        found = await self._answered(request, served, asked, "tag")
        items = [{"spans": [span._asdict() for span in spans]} for spans in found]
        return JSONResponse(replies.listed(served, items))

    async def _translate(self, request: Request) -> Response:
        asked, served = await self._texts(request, "translate", _PAIRS)
        beams = asked.settings.get("num_beams", min(5, self._options.max_batch))
        settings = {"num_beams": beams, "num_samples": beams, **asked.settings}
        asked = dataclasses.replace(asked, settings=settings)
        found = await self._answered(request, served, asked, "targets")
        items = [
            {"text": targets[0].text, "hypotheses": [{"text": t.text, "score": t.score} for t in targets]}
            for targets in found
        ]
        return JSONResponse(replies.listed(served, items))

    async def _texts(
        self, request: Request, endpoint: str, names: tuple[str, ...], words: bool = False
    ) -> tuple[GivenTexts, ServedModel]:
        asked = protocol.texts_asked(await self._body(request), self._options, names, words)
        return asked, self._served(request, asked.model, endpoint)

    async def _answered(
        self, request: Request, served: ServedModel, asked: GivenTexts, method: str
    ) -> list[Any]:
        """Return what a method of the model makes of texts; requests with the same settings share a call."""

        def work(texts: list[Any]) -> list[Any]:
            try:
                return getattr(served.lm, method)(texts, **asked.settings)
            except TypeError:  # Where a number is expected, a text was given.
                raise InputError("a setting has the wrong type") from None

        key = method, json.dumps(asked.settings, sort_keys=True)
        return await self._called(request, served, work, asked.texts, key)

    async def _called(
        self, request: Request, served: ServedModel, work: Callable, texts: list[Any], key: tuple
    ) -> list[Any]:
        box = Mailbox(self._scheduler)
        box.post([CallJob(work, texts, (id(served.lm), *key), box.teller(0))])
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
            raise Refused(408, "the body did not come in time; send it at once") from None
        if size > most:
            raise Refused(413, f"the body has more than {most:,} bytes; send a shorter one", code="too_long")
        return read_object(b"".join(parts))
