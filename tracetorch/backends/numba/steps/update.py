"""Template of optimizers' updates of one parameter, in torch's order of operations; executed once per scalar type."""

import numpy as np


def sgd(value, grad, buffer, size, first, rate, momentum, rest, decay, nesterov) -> int:
    """Move a parameter by stochastic gradient descent; `buffer` is 0 without momentum, `rest` is 1 - dampening."""
    rate, momentum, rest, decay = F(rate), F(momentum), F(rest), F(decay)
    for k in range(size):
        g = get(grad, k) + decay * get(value, k)
        if buffer != 0:
            now = g if first else momentum * get(buffer, k) + rest * g
            put(buffer, k, now)
            g = g + momentum * now if nesterov else now
        put(value, k, get(value, k) - rate * g)
    return 0


def adam(value, grad, mean, square, size, apart, rate, beta1, beta2, eps, decay, steps) -> int:
    """Move a parameter by Adam, or where weight decay stands `apart` from the gradient by AdamW."""
    by = F(rate / (1 - beta1**steps))
    root = F(np.sqrt(1 - beta2**steps))
    keep = F(1 - rate * decay) if apart else F(1)
    pull = F(0) if apart else F(decay)
    new, old, rest, eps = F(1 - beta1), F(beta2), F(1 - beta2), F(eps)
    for k in range(size):
        v = get(value, k) * keep
        g = get(grad, k) + pull * v
        m = get(mean, k) + new * (g - get(mean, k))
        s = old * get(square, k) + rest * g * g
        put(mean, k, m)
        put(square, k, s)
        put(value, k, v - by * m / (F(np.sqrt(s)) / root + eps))
    return 0
