"""The status page in Chromium: what people see and do. Run by `make browser`."""
