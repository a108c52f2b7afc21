//! The little statistics that verdicts need: how many samples a claim takes, and how likely it is by chance.

/// How sure a verdict must be: a claim is not made while chance alone would produce it in one of twenty cases.
pub(crate) const ALPHA: f64 = 0.05;

/// Samples without which an upper bound on quantile `q` cannot be confirmed: with fewer, even the largest sample
/// lies below the true quantile in more than 5 % of cases (`q^n > 0.05`). 299 for p99, 2,995 for p99.9.
pub(crate) fn samples_for_quantile(q: f64) -> u64 {
    if q <= 0.0 || !q.is_finite() {
        return 1;
    }
    if q >= 1.0 {
        return u64::MAX;
    }
    // The small shift keeps 298.0000001 from becoming 299 through rounding of the logarithms.
    ((ALPHA.ln() / q.ln() - 1e-9).ceil() as u64).max(1)
}

/// Requests without which an error ratio below `r` cannot be confirmed: zero failures in `n` only bounds the ratio
/// by `3/n` (the rule of three).
pub(crate) fn requests_for_ratio(r: f64) -> u64 {
    if r <= 0.0 || !r.is_finite() {
        return 1;
    }
    ((3.0 / r - 1e-9).ceil() as u64).max(1)
}

/// The place of quantile `q` among `n` sorted samples, from 1.
pub(crate) fn rank(q: f64, n: u64) -> u64 {
    // Rounding of `q * n` must not push an exact rank (0.99 of 100) to the next one.
    let exact = q.clamp(0.0, 1.0) * n as f64;
    ((exact - 1e-6).ceil() as u64).clamp(1, n.max(1))
}

/// P(X >= k) for X binomial with `n` trials of probability `p`.
pub(crate) fn binomial_tail(k: u64, n: u64, p: f64) -> f64 {
    if k == 0 {
        return 1.0;
    }
    if k > n || p <= 0.0 || p.is_nan() {
        return 0.0;
    }
    if p >= 1.0 {
        return 1.0;
    }
    incomplete_beta(k as f64, (n - k) as f64 + 1.0, p).clamp(0.0, 1.0)
}

/// Whether `k` bad ones of `n` are too many to be chance where each is bad with probability `p`.
pub(crate) fn too_many(k: u64, n: u64, p: f64) -> bool {
    // Up to the mean no test is needed, which keeps the usual case cheap.
    k as f64 > n as f64 * p && binomial_tail(k, n, p) < ALPHA
}

/// Logarithm of the gamma function for x > 0 (Lanczos, g = 7; about 15 digits).
fn ln_gamma(x: f64) -> f64 {
    const C: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let mut sum = 0.999_999_999_999_809_9;
    for (i, c) in C.iter().enumerate() {
        sum += c / (x + i as f64 + 1.0);
    }
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

/// The regularized incomplete beta function I_x(a, b).
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    let front = ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p();
    // The continued fraction converges fast on one side of the mean only; the other side is its mirror.
    if x < (a + 1.0) / (a + b + 2.0) {
        (front.exp() * beta_fraction(a, b, x)) / a
    } else {
        1.0 - (front.exp() * beta_fraction(b, a, 1.0 - x)) / b
    }
}

/// Lentz's continued fraction for the incomplete beta function.
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let guard = |v: f64| if v.abs() < TINY { TINY } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0));
    let mut h = d;
    // It takes about sqrt(a + b) rounds: enough for 10^9 requests.
    for m in 1..100_000 {
        let m = m as f64;
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / guard(1.0 + even * d);
        c = guard(1.0 + even / c);
        h *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / guard(1.0 + odd * d);
        c = guard(1.0 + odd / c);
        let step = d * c;
        h *= step;
        if (step - 1.0).abs() < 1e-12 {
            break;
        }
    }
    h
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_sizes_are_those_of_the_books() {
        assert_eq!(samples_for_quantile(0.5), 5);
        assert_eq!(samples_for_quantile(0.95), 59);
        assert_eq!(samples_for_quantile(0.99), 299);
        assert_eq!(samples_for_quantile(0.999), 2_995);
        assert_eq!(samples_for_quantile(0.0), 1);
        assert_eq!(samples_for_quantile(1.0), u64::MAX);
        assert_eq!(requests_for_ratio(0.001), 3_000);
        assert_eq!(requests_for_ratio(0.0), 1);
    }

    #[test]
    fn ranks_are_exact() {
        assert_eq!(rank(0.99, 100), 99);
        assert_eq!(rank(0.999, 1000), 999);
        assert_eq!(rank(0.95, 20), 19);
        assert_eq!(rank(0.99, 101), 100);
        assert_eq!(rank(0.0, 10), 1);
        assert_eq!(rank(1.0, 10), 10);
    }

    /// The tail by adding its terms up, each from the one before.
    fn by_hand(k: u64, n: u64, p: f64) -> f64 {
        let mut term = (1.0 - p).powi(n as i32);
        let mut below = 0.0;
        for i in 0..k {
            below += term;
            term *= (n - i) as f64 / (i + 1) as f64 * p / (1.0 - p);
        }
        1.0 - below
    }

    #[test]
    fn the_tail_is_the_sum_of_its_terms() {
        for n in [1, 5, 50, 300, 700] {
            for p in [0.001, 0.01, 0.05, 0.3, 0.5] {
                for k in [0, 1, 2, 3, 10, 40] {
                    if k <= n {
                        let (fast, slow) = (binomial_tail(k, n, p), by_hand(k, n, p));
                        assert!((fast - slow).abs() < 1e-9, "{k} {n} {p}: {fast} {slow}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_tail_stays_sane_for_a_day_of_traffic() {
        let n = 500_000_000;
        // At the mean it is about one half; ten standard deviations above, nothing.
        assert!((binomial_tail(500_000, n, 0.001) - 0.5).abs() < 0.01);
        assert!(binomial_tail(507_100, n, 0.001) < 1e-20);
        assert!(binomial_tail(493_000, n, 0.001) > 1.0 - 1e-9);
        assert_eq!(binomial_tail(1, 10, 0.0), 0.0);
        assert_eq!(binomial_tail(11, 10, 0.5), 0.0);
        assert_eq!(binomial_tail(3, 10, 1.0), 1.0);
    }

    #[test]
    fn one_of_five_is_too_many_for_one_percent_and_one_of_six_is_not() {
        assert!(too_many(1, 5, 0.01));
        assert!(!too_many(1, 6, 0.01));
        assert!(!too_many(0, 6, 0.0));
        assert!(too_many(1, 6, 0.0));
    }
}
