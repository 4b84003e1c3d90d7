"""The file tool of SWE-agent, ``str_replace_editor``, on the file calls of any sandbox."""

from srl_envs.sandbox.editor.edit_tool import EditTool

__all__ = ["EditTool"]
