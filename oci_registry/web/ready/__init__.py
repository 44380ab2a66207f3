"""Ready answers: responses that are sent again without building a request."""
