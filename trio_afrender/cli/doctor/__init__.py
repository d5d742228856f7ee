"""``trio_afrender doctor``: rules over facts (`machine`, `place`, `server`), the looks that gather the
facts, and the command that shows what was found."""
