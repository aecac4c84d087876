"""qsift inside other frameworks, a module each; none is imported before it is asked for.

    from qsift.integrations.langchain import QsiftEmbeddings

Each raises MissingExtraError where its framework is not installed. Models are named as in
`qsift.Embedder.load`, load when they are used first, and once in a process for the same settings.
"""
