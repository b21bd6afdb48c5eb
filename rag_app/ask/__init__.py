"""From a question to an answer: the pipeline and its steps; cli and server call it."""
