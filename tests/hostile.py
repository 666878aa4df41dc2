"""Texts that would be obeyed, were they not made texts: by browsers, Markdown, terminals, spreadsheets, LaTeX."""

TEXTS = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "</title></style><b onclick=x>",
    '" onmouseover="alert(1)',
    "[link](javascript:alert(1))",
    "![image](http://evil.example/x.png)",
    "<http://evil.example> www.evil.example https://evil.example",
    "[here][ref] [ref]: http://evil.example",
    "a | b | c",
    "`code` ``` ~~~ **strong** _em_ ~~gone~~",
    "&lt;b&gt; &amp;",
    "\x1b[31mred\x1b]0;title\x07",
    "[red]markup[/red] :smile:",
    "$(touch pwned) `touch pwned` ; touch pwned",
    r"\input{/etc/passwd} % \end{tabular} $x^2$ ~ # _ {",
    "${{ github.token }} {{ 7 * 7 }} {% raw %}",
    "\u202egnirts \u2028 \x85",
    "]]> <!-- --> ../../etc",
)
FORMULAS = ('=HYPERLINK("http://evil.example")', "+1+cmd|' /C calc'!A0", "-1+1", "@SUM(1)", "\t=1")
BLOCKS = ("# heading", "- item", "+ item", "1. item", "2) item", "---", "===", "> quote", "    code", "```", "| a |")
NASTY = " ".join(TEXTS)
