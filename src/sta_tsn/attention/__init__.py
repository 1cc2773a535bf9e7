"""The project's subject: where and when a model looks, explained, drawn and measured."""
