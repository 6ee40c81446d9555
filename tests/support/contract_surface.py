"""What plugins rely on, as data, and what of a change to it breaks them.

    python -m contract_surface FOLDER    writes FOLDER/{CONTRACT}.json

Described are the hooks and what they return, the contracts' classes with their methods and
attributes, the values that travel between, and the errors. Types are not: mypy sees these, and the
frozen plugin uses them.
"""

import dataclasses
import inspect
import json
import re
import sys
from importlib import import_module
from pathlib import Path

from ramure import hookspecs

IMPLEMENTED = {
    "ramure.machine": ("Image", "Process", "Machine", "Backend"),
    "ramure.harness": ("Harness", "Session"),
    "ramure.toolset": ("ToolSet",),
    "ramure.transport": ("Route", "Transport"),
}
"""Contracts: plugins have subclasses of these, and the run calls them."""

USED = {
    "ramure.backends.local": ("LocalBackend", "LocalImage", "LocalMachine"),
    "ramure.machine": ("DialsSockets", "KeepsDeadlines"),
    "ramure.relay": ("RelayedMachine",),
    "ramure.toolset": ("Platform",),
}
"""What plugins call and build on."""

FUNCTIONS = {"ramure.toolset": ("made_once", "tell"), "ramure.trees": ("copy",)}
VALUES = ("ramure.values", "ramure.transport")
ERRORS = "ramure.errors"


def describe():
    """The surface of this ramure."""
    return {
        "hooks": {name: signature(hook) for name, hook in hooks().items()},
        "values": {
            f"{module}.{name}": {
                "fields": fields(kind),
                "members": {n: m for n, m in contract(kind)["members"].items() if n != "__init__"},
            }
            for module in ("ramure.hookspecs", *VALUES)
            for name, kind in own_classes(module)
            if dataclasses.is_dataclass(kind)
        },
        "errors": {
            name: {
                "bases": sorted(base.__name__ for base in kind.__mro__[1:-1]),
                "init": signature(kind.__init__),
            }
            for name, kind in own_classes(ERRORS)
        },
        "functions": {
            f"{module}.{name}": signature(getattr(import_module(module), name))
            for module, names in FUNCTIONS.items()
            for name in names
        },
        "implemented": {name: contract(kind) for name, kind in chosen(IMPLEMENTED)},
        "used": {name: contract(kind) for name, kind in chosen(USED)},
    }


def hooks():
    """The hook specifications."""
    return {name: hook for name, hook in vars(hookspecs).items() if name.startswith("ramure_")}


def chosen(modules):
    for module, names in modules.items():
        for name in names:
            yield f"{module}.{name}", getattr(import_module(module), name)


def own_classes(module):
    for name, kind in vars(import_module(module)).items():
        if inspect.isclass(kind) and kind.__module__ == module and not name.startswith("_"):
            yield name, kind


def fields(kind):
    """Of a value: its fields, in their order."""
    missing = dataclasses.MISSING
    return [
        {
            "name": field.name,
            "default": field.default is not missing or field.default_factory is not missing,
        }
        for field in dataclasses.fields(kind)
    ]


def contract(kind):
    """Of a class: its public methods, properties and attributes, inherited ones too."""
    members, attributes = {}, {}
    for base in reversed(kind.__mro__):
        if not base.__module__.startswith("ramure"):
            continue
        for name in base.__annotations__ if "__annotations__" in vars(base) else ():
            if not name.startswith("_"):
                attributes[name] = {"default": hasattr(kind, name)}
        for name, value in vars(base).items():
            if not name.startswith("_") or name == "__init__":
                members |= {name: told} if (told := member(value)) else {}
    return {"members": members, "attributes": attributes}


def member(value):
    """Of a method or a property; None for anything else."""
    abstract = getattr(value, "__isabstractmethod__", False)
    if isinstance(value, property):
        return {"kind": "property", "abstract": abstract}
    function = getattr(value, "__func__", value)
    if not inspect.isfunction(function):
        return None
    kind = "async" if inspect.iscoroutinefunction(function) else "sync"
    return {"kind": kind, "abstract": abstract, "parameters": signature(function)}


def signature(function):
    """The parameters, in their order, without ``self``."""
    return [
        {
            "name": parameter.name,
            "kind": parameter.kind.name.lower(),
            "default": parameter.default is not parameter.empty,
        }
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name not in ("self", "cls")
    ]


# --- what breaks plugins


def breaks(before, after):
    """Whatever a plugin that was written for ``before`` cannot live with in ``after``, in words."""
    found = []
    for kind, names in before.items():
        for name, old in names.items():
            new = after.get(kind, {}).get(name)
            if new is None:
                found.append(f"{name} is gone")
            else:
                found += COMPARED[kind](name, old, new)
    return found


def _hook(name, old, new):
    there = {parameter["name"] for parameter in new}
    return [f"{name}: the argument {p['name']} is gone" for p in old if p["name"] not in there]


def _value(name, old, new):
    return _fields(name, old["fields"], new["fields"]) + _members(
        name, old["members"], new["members"]
    )


def _fields(name, old, new):
    found = _gone(name, "field", [f["name"] for f in old], {f["name"] for f in new})
    found += [
        f"{name}: the field {f['name']} has no default any more"
        for f, now in _pairs(old, new)
        if f["default"] and not now["default"]
    ]
    names = [f["name"] for f in old]
    kept = [f["name"] for f in new if f["name"] in names]
    if not found and (kept != names or names != [f["name"] for f in new][: len(names)]):
        found.append(f"{name}: its fields have another order")
    return found + [
        f"{name}: the field {f['name']} is new, and has no default"
        for f in new
        if f["name"] not in names and not f["default"]
    ]


def _error(name, old, new):
    found = _gone(name, "base", old["bases"], set(new["bases"]))
    return found + _call(name, old["init"], new["init"])


def _function(name, old, new):
    return _call(name, old, new)


def _implemented(name, old, new):
    found = _used(name, old, new)
    for member, now in new["members"].items():
        was = old["members"].get(member)
        if now["abstract"] and not (was and was["abstract"]):
            found.append(f"{name}.{member}: is abstract now, and no plugin has it")
        elif now["abstract"] and "parameters" in was:
            known = {parameter["name"] for parameter in was["parameters"]}
            found += [
                f"{name}.{member}: the argument {p['name']} is new, and no plugin takes it"
                for p in now["parameters"]
                if p["name"] not in known and p["default"]
            ]
    return found + [
        f"{name}.{attribute}: is new, has no value, and no plugin gives it one"
        for attribute, now in new["attributes"].items()
        if attribute not in old["attributes"] and not now["default"]
    ]


def _used(name, old, new):
    there = {*new["attributes"], *new["members"]}
    found = _members(name, old["members"], new["members"])
    found += _gone(name, "attribute", old["attributes"], there)
    return found + [
        f"{name}.{attribute}: has no value any more, and no plugin gives it one"
        for attribute, was in old["attributes"].items()
        if was["default"] and not new["attributes"].get(attribute, was)["default"]
    ]


def _members(name, old, new):
    found = _gone(name, "member", old, {*new})
    for member, was in old.items():
        now = new.get(member, was)
        if was["kind"] != now["kind"]:
            found.append(f"{name}.{member}: was {was['kind']}, and is {now['kind']}")
        elif "parameters" in was:
            found += _call(f"{name}.{member}", was["parameters"], now["parameters"])
    return found


def _call(name, old, new):
    """What callers notice."""
    names = {parameter["name"] for parameter in old}
    found = _gone(name, "argument", [p["name"] for p in old], {p["name"] for p in new})
    for was, now in _pairs(old, new):
        if was["kind"] != now["kind"] and (was["kind"], now["kind"]) != LOOSER:
            found.append(
                f"{name}: the argument {was['name']} was {_word(was)}, and is {_word(now)}"
            )
        if was["default"] and not now["default"]:
            found.append(f"{name}: the argument {was['name']} has no default any more")
    places = [p["name"] for p in old if "positional" in p["kind"]]
    if not found and places != [p["name"] for p in new if "positional" in p["kind"]][: len(places)]:
        found.append(f"{name}: its arguments have another order")
    return found + [
        f"{name}: the argument {p['name']} is new, and has no default"
        for p in new
        if p["name"] not in names and not p["default"] and not p["kind"].startswith("var_")
    ]


LOOSER = ("keyword_only", "positional_or_keyword")


def _word(parameter):
    return parameter["kind"].replace("_", " ")


def _gone(name, what, old, there):
    return [f"{name}: the {what} {each} is gone" for each in old if each not in there]


def _pairs(old, new):
    now = {each["name"]: each for each in new}
    return [(was, now[was["name"]]) for was in old if was["name"] in now]


COMPARED = {
    "hooks": _hook,
    "values": _value,
    "errors": _error,
    "functions": _function,
    "implemented": _implemented,
    "used": _used,
}


def main(folder):
    """Write down the surface, unless it breaks what was written down before."""
    path = Path(folder, f"{hookspecs.CONTRACT}.json")
    surface = describe()
    if path.exists() and (found := breaks(json.loads(path.read_text("utf-8")), surface)):
        lines = "\n".join(f"  {each}" for each in found)
        sys.exit(f"{path} stays as it is. {ADVICE}\n{lines}")
    path.write_text(written(surface), "utf-8")


def written(surface):
    """As JSON, with a line for each parameter, field and attribute, so that people see changes."""
    text = json.dumps(surface, indent=1)
    return (
        re.sub(r"\{\s+([^{}\[\]]+?)\s+\}", lambda m: "{" + " ".join(m[1].split()) + "}", text)
        + "\n"
    )


ADVICE = (
    f"Plugins that were written for version {hookspecs.CONTRACT} of the contracts would break: do "
    "it compatibly, or raise CONTRACT in ramure/hookspecs.py, tell it in CHANGELOG.md, and run "
    "scripts/contracts."
)

if __name__ == "__main__":
    main(sys.argv[1])
