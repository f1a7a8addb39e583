"""The JSON Schema of workflow files (draft 2020-12), made from the models.

What dw accepts is valid by it. It says less than dw checks: what a step refers to, what a class
takes, and which files are there is not for a schema to know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from docs.format_outline import all_sections
from dw.workflow.checks.keys import REMARKS, gathered_sections, known_keys
from dw.workflow.format.model import Task, Workflow
from dw.workflow.format.section import Section

Schema = dict[str, Any]

_VARIABLE: Schema = {
    "type": "string",
    "pattern": r"^variable:\S+$",
    "description": "the value of a variable, named as variable:NAME",
}
_VARIABLE_REFERENCE: Schema = {"$ref": "#/$defs/variable"}


def json_schema(commands: Mapping[str, Sequence[str]]) -> Schema:
    """The schema; `commands` maps the command of a task to the names of its arguments."""
    models = Workflow.model_json_schema(ref_template="#/$defs/{model}")
    made = {**models.pop("$defs"), Workflow.__name__: models}
    sections = {model.__name__: _section(model, made) for model in all_sections()}
    _name_commands(sections[Task.__name__], commands)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dw workflow",
        "$ref": f"#/$defs/{Workflow.__name__}",
        "$defs": {"variable": _VARIABLE, **sections},
    }


_NOTES = f"^([_$].*|{'|'.join(sorted(REMARKS))})$"
"""The keys of notes."""


def _section(model: type[Section], made: Mapping[str, Schema]) -> Schema:
    """The schema of one section. `made`: what pydantic makes of the models."""
    own = made[model.__name__]
    properties = {
        name: _or_variable(node)
        for name, node in own.get("properties", {}).items()
        if name in known_keys(model)
    }
    further: Schema = {}
    for section in gathered_sections(model):
        further = _or_variable({"anyOf": [{"$ref": _place(section)}, {"type": "null"}]})
    properties |= dict.fromkeys(sorted(model.accepted - properties.keys()), further)
    schema: Schema = {"type": "object", "properties": properties | model.schema_extra(further)}
    if description := own.get("description"):
        schema["description"] = description
    if required := [name for name in own.get("required", ()) if name in properties]:
        schema["required"] = required
    if model is not Workflow:
        schema["additionalProperties"] = further or False
        if not model.closed:
            schema["patternProperties"] = {_NOTES: {}}
    return schema


def _place(model: type[Section]) -> str:
    return f"#/$defs/{model.__name__}"


def _or_variable(node: Schema) -> Schema:
    """The same, with `variable:NAME` in the place of each value where not any text is allowed."""
    kept: Schema = {key: node[key] for key in ("description", "default") if key in node}
    rest = {key: value for key, value in node.items() if key not in (*kept, "title")}
    members = [_inside(member) for member in rest.get("anyOf", [rest])]
    if any(map(_takes_any_text, members)):
        return {**kept, **rest}
    return {**kept, "anyOf": [*members, _VARIABLE_REFERENCE]}


def _inside(node: Schema) -> Schema:
    """The same for the items of a list and the values of an object."""
    inner = ("items", "additionalProperties")
    return {
        key: _or_variable(value) if key in inner and isinstance(value, dict) else value
        for key, value in node.items()
    }


def _takes_any_text(node: Schema) -> bool:
    takes_text = not node or "string" in node.get("type", ())
    return takes_text and not {"enum", "const", "pattern"} & node.keys()


def _name_commands(task: Schema, commands: Mapping[str, Sequence[str]]) -> None:
    """The commands that there are, and for each the names of its arguments."""
    task["properties"]["command"] = {
        "description": task["properties"]["command"]["description"],
        "anyOf": [{"enum": sorted(commands)}, _VARIABLE_REFERENCE],
    }
    task["allOf"] = [
        {
            "if": {"properties": {"command": {"const": command}}, "required": ["command"]},
            "then": {"properties": {"arguments": {"properties": {key: {} for key in names}}}},
        }
        for command, names in sorted(commands.items())
        if names
    ]
