"""What one level says with ``image=`` and ``host=``, on top of what it inherits.

``host`` says *where*, ``image`` says *what*. Everything is understood, or refused with the cure,
before anything is started. The rules, for each level (a process, an agent, a machine):

* a leading ``name:`` of an image text names its backend, and so does an image object; any other
  text is read by the host's backend; ``name:`` alone is that backend's default image;
* an image of one backend on a host of another asks the image's backend to adopt the host;
* what a level does not say is inherited, as long as it works with what the level says;
* neither said nor inherited: ``local``.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ramure.errors import NotRegistered, PlacementError
from ramure.machine import Image
from ramure.placement.hosts import HostLike, HostText, read_host
from ramure.placement.occupancy import Limits, occupancy
from ramure.plugins import Plugins, missing
from ramure.values import Host

DEFAULT = "local"

_PREFIXED = re.compile(r"([A-Za-z][A-Za-z0-9-]*):(?!//)(.*)", re.DOTALL)

Ask = Callable[[], Awaitable[Host]]


@dataclass(frozen=True, slots=True)
class Placement:
    """What machines are made from, and where.

    Attributes:
        backend: the name of the backend that makes them.
        image: an image of this backend.
        hosts: where they may be made, each with its limit (None for none).
        ask: called for the host of each machine, instead of ``hosts``.
        image_named: the program chose the image; else it is the backend's default.
    """

    backend: str
    image: Image
    hosts: Limits
    ask: Ask | None = None
    image_named: bool = False

    @property
    def full(self) -> bool:
        """Whether ``choose_host`` would have to wait for room."""
        return self.ask is None and occupancy().full(self.hosts)

    async def choose_host(self) -> Host:
        """The host for one more machine: the one with the fewest; waits while all are full.

        Give it back with ``release_host`` once the machine is gone.

        Raises:
            PlacementError: the program's function was asked, and its answer cannot be used.
        """
        hosts = self.hosts if self.ask is None else {await self.ask(): None}
        return await occupancy().take(hosts)

    def release_host(self, host: Host) -> None:
        """The machine is gone: there is room for another."""
        occupancy().leave(host)


def resolve_placement(
    image: Image | str | None,
    host: HostLike | None,
    *,
    inherited: Placement | None,
    plugins: Plugins,
) -> Placement:
    """Understand what one level says, on top of what it inherits.

    Raises:
        PlacementError: it cannot be understood, or contradicts itself.
        PluginError: a backend cannot be imported, or several plugins claim it.
    """
    if image is None and host is None and inherited is not None:
        return inherited
    return _Level(plugins, image, host).resolve(inherited)


class _Level:
    """One level, as far as it is understood.

    ``_backend`` is the one that the image names. ``_hosts`` is None where no host is said.
    """

    def __init__(self, plugins: Plugins, image: object, host: HostLike | None) -> None:
        said = (("image", image), ("host", host))
        self._said = ", ".join(f"{name}={value!r}" for name, value in said if value is not None)
        self._plugins = plugins
        self._image: Image | None = None
        self._text: str | None = None
        self._backend: str | None = None
        self._read_image(image)
        self._function = host if callable(host) else None
        self._hosts = None if host is None or callable(host) else self._read_hosts(host)

    def resolve(self, inherited: Placement | None) -> Placement:
        if self._function is not None:
            return self._asking(self._function, inherited)
        if self._hosts is not None:
            return self._on(self._hosts, inherited)
        backend = self._backend or (inherited.backend if inherited else DEFAULT)
        image = self._image_of(backend)
        if inherited is None:
            hosts: Limits = {Host(backend): None}
        elif backend == inherited.backend:
            return Placement(backend, image, inherited.hosts, inherited.ask, image_named=True)
        else:
            hosts = inherited.hosts if self._adopted(inherited.hosts, backend) else {}
        return self._placement(backend, image, hosts or {Host(backend): None})

    def _on(self, hosts: Limits, inherited: Placement | None) -> Placement:
        """Where the level says hosts."""
        if self._backend:
            return self._placement(self._backend, self._image_of(self._backend), hosts)
        backends = dict.fromkeys(host.backend for host in hosts)
        if self._says_image or not (inherited and inherited.image_named):
            backend = self._one_of(backends)
            return self._placement(backend, self._image_of(backend), hosts)
        if self._adopted(hosts, inherited.backend):
            return self._placement(inherited.backend, inherited.image, hosts, image_named=True)
        backend = self._one_of(backends)
        return self._placement(backend, self._image_of(backend), hosts)

    def _one_of(self, backends: Iterable[str]) -> str:
        first, *others = backends
        if others:
            raise self._error(
                f"the hosts belong to several backends ({first}, {', '.join(others)});"
                f" say which one the image is for, such as image='{first}:…'"
            )
        return first

    def _placement(
        self, backend: str, image: Image, hosts: Limits, *, image_named: bool | None = None
    ) -> Placement:
        """Checked: every host is one of the backend's."""
        found: dict[Host, int | None] = {}
        for host, limit in hosts.items():
            found[self._own(host, backend)] = limit
        named = self._says_image if image_named is None else image_named
        return Placement(backend, image, found, image_named=named)

    def _own(self, host: Host, backend: str) -> Host:
        """The host as one of the backend's own."""
        own = self._adopt(host, backend)
        if own is None:
            raise self._error(
                f"the image is for {backend!r}, which cannot work on the host {str(host)!r};"
                f" leave one of them out, or name a host of {backend!r}"
            )
        self._plugins.reader(backend).check_host(own)
        return own

    def _adopt(self, host: Host, backend: str) -> Host | None:
        return host if host.backend == backend else self._plugins.reader(backend).adopt_host(host)

    def _adopted(self, hosts: Limits, backend: str) -> bool:
        return bool(hosts) and all(self._adopt(host, backend) for host in hosts)

    # --- a function that says where

    def _asking(self, function: Callable[[], Any], inherited: Placement | None) -> Placement:
        """Where the level says a function.

        Where no image tells the backend, the function is asked now: its answer tells, and is kept
        for the first machine.
        """
        answers: list[Any] = []
        if self._backend:
            place = Placement(self._backend, self._image_of(self._backend), {}, image_named=True)
        else:
            answers.append(self._answer_now(function))
            place = self._on({self._host(answers[0]): None}, inherited)

        async def ask() -> Host:
            answer = answers.pop() if answers else function()
            if inspect.isawaitable(answer):
                answer = await answer
            return self._own(self._host(answer), place.backend)

        return Placement(place.backend, place.image, {}, ask, image_named=place.image_named)

    def _answer_now(self, function: Callable[[], Any]) -> Any:
        if not inspect.iscoroutinefunction(function):
            answer = function()
            if not inspect.isawaitable(answer):
                return answer
            if inspect.iscoroutine(answer):
                answer.close()
        raise self._error(
            "which backend an async function will name is not known before it is called;"
            " name it with the image, such as image='ssh:' for the default image of 'ssh'"
        )

    # --- reading

    def _read_image(self, image: object) -> None:
        if isinstance(image, Image):
            self._image, self._backend = image, self._known(image.backend)
        elif isinstance(image, os.PathLike):
            self._text = os.fspath(image)
        elif isinstance(image, str) and image:
            self._backend, self._text = self._prefix(image)
        elif image is not None:
            raise self._error("an image is text, or an image object such as LocalImage()")

    def _prefix(self, text: str) -> tuple[str | None, str | None]:
        """The backend that a leading ``name:`` names, and the rest."""
        match = _PREFIXED.match(text)
        if match and (match[1] in self._plugins.backends() or match[1] in missing.BACKENDS):
            return self._known(match[1]), match[2] or None
        return None, text

    def _read_hosts(self, host: Any) -> Limits:
        if isinstance(host, str | Host):
            return {self._host(host): None}
        if not isinstance(host, Iterable):
            raise self._error("a host is text, several hosts, or a function that returns one")
        limits = host if isinstance(host, Mapping) else dict.fromkeys(host)
        if not limits:
            raise self._error("there is no host in it")
        for one, limit in limits.items():
            if limit is not None and not (type(limit) is int and limit > 0):
                raise self._error(f"the limit of {one!r} must be a whole number from 1 on")
        return {self._host(one): limit for one, limit in limits.items()}

    def _host(self, text: HostText) -> Host:
        host = read_host(text)
        self._known(host.backend)
        return host

    def _known(self, backend: str) -> str:
        """The name, where an installed backend has it."""
        try:
            return self._plugins.backend(backend).name
        except NotRegistered as error:
            raise self._error(str(error)) from None

    @property
    def _says_image(self) -> bool:
        return bool(self._image or self._text or self._backend)

    def _image_of(self, backend: str) -> Image:
        """The level's image, read by this backend; its default where the level says none."""
        if self._image is not None:
            return self._image
        if self._text and not self._backend and backend == DEFAULT:
            self._look_for_slips(self._text)
        return self._plugins.reader(backend).read_image(self._text)

    def _look_for_slips(self, text: str) -> None:
        """Text that the local backend would take for a folder that is not there."""
        if Path(text).expanduser().exists():
            return
        if "://" in text:
            raise self._error(f"this reads like a host; did you mean host={text!r}?")
        if match := _PREFIXED.match(text):
            try:
                self._plugins.backend(match[1])
            except NotRegistered as error:
                hint = "" if str(error).endswith("?") else f"; for a container: 'docker:{text}'"
                raise self._error(f"there is no such folder, and {error}{hint}") from None

    def _error(self, reason: str) -> PlacementError:
        return PlacementError(f"{self._said}: {reason}")
