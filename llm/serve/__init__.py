"""An OpenAI-compatible HTTP server for the local model; SERVE.md says what it takes and how it differs.

A request's body (`request`) -> what is asked -> a conversation of the `LanguageModel` seam -> its draft
(`reply`) -> a completion, or chunks of one (`completions`).
"""
