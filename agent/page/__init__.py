"""The browser's page: plain HTML, CSS and JavaScript modules; `stretto serve` serves them as they are."""
