"""The OpenAI Realtime protocol (general availability and beta names) over any message stream."""
