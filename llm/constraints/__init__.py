"""Tool calls that always parse and fit their schema.

JSON schema -> byte automaton (`schema`, `literals`, `automaton`) -> token automaton (`tokens`) -> the most
probable accepted call on a canvas (`viterbi`). `call_text` is the form of a call and needs no numpy, so
nothing is imported here.
"""
