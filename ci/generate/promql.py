"""PromQL expressions over Grafana's `$__rate_interval`. `labels` are label matchers without braces."""


def rate(metric: str, labels: str) -> str:
    """Return the per-second rate of a counter."""
    return f"rate({metric}{{{labels}}}[$__rate_interval])"


def quantile(share: float, histogram: str, labels: str, *by: str) -> str:
    """Return the value, of each combination of the `by` labels, that the given share of observations stays below."""
    return f"histogram_quantile({share}, sum by ({', '.join(('le', *by))}) ({rate(f'{histogram}_bucket', labels)}))"


def installed(gauge: str, *by: str) -> str:
    """Return the sum over installations of a number that each reads from its database, the same in all of its pods."""
    total = f"sum by ({', '.join(by)})" if by else "sum"
    return f"{total} (max by ({', '.join(('namespace', *by))}) ({gauge}))"
