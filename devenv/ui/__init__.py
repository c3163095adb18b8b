"""`devenv ui`: the page in the browser, what it shows, and the server on 127.0.0.1 that serves it."""
