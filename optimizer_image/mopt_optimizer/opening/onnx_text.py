"""Names and other text of an ONNX model, which must be text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mopt_optimizer.errors import ModelError

if TYPE_CHECKING:
    import onnx
    from google.protobuf.message import Message

_SHOWN = 64


def check_text(model: onnx.ModelProto) -> None:
    """Refuse text that is not UTF-8: protobuf gives it as bytes, and no runtime knows what to do.

    Raises:
        ModelError: It names the first one.
    """
    import onnx
    from google.protobuf.message import Message

    pending: list[Message] = [model]
    while pending:
        message = pending.pop()
        if isinstance(message, onnx.TensorProto):
            # Not its values, which would be copied.
            _refuse_bytes(message, "name", message.name)
            pending += message.external_data
            continue
        for field, value in message.ListFields():
            if field.type == field.TYPE_STRING:
                for text in (value,) if isinstance(value, str | bytes) else value:
                    _refuse_bytes(message, field.name, text)
            elif field.type == field.TYPE_MESSAGE:
                pending += (value,) if isinstance(value, Message) else value


def _refuse_bytes(message: Message, field: str, text: str | bytes) -> None:
    if isinstance(text, bytes):
        raise ModelError(
            f"{message.DESCRIPTOR.name}.{field} {text[:_SHOWN]!r} is not UTF-8 text: the file is "
            "damaged, or has to be written again with such names"
        )
