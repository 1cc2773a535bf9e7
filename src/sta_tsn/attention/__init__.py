"""The project's subject: where and when a model looks, drawn, explained and held against the truth."""
