//! The statistics of shares: how far a count may lie from its expectation by chance. Pure numbers; what they mean
//! for a balancer is for `share`.

/// The value that a standard normal variable stays below with probability `p` (Acklam's approximation, relative
/// error under 1.2e-9); for `p` outside (0, 1) the nearest infinity.
pub(crate) fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 5] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 4] = [
        7.784_695_709_041_462e-3,
        3.224_671_290_700_398e-1,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
    ];
    const LOW: f64 = 0.024_25;
    let tail = |q: f64| {
        (((((C[0] * q + C[1]) * q + C[2]) * q + C[3]) * q + C[4]) * q + C[5])
            / ((((D[0] * q + D[1]) * q + D[2]) * q + D[3]) * q + 1.0)
    };
    if p <= 0.0 {
        f64::NEG_INFINITY
    } else if p >= 1.0 {
        f64::INFINITY
    } else if p < LOW {
        tail((-2.0 * p.ln()).sqrt())
    } else if p > 1.0 - LOW {
        -tail((-2.0 * (1.0 - p).ln()).sqrt())
    } else {
        let q = p - 0.5;
        let r = q * q;
        (((((A[0] * r + A[1]) * r + A[2]) * r + A[3]) * r + A[4]) * r + A[5]) * q
            / (((((B[0] * r + B[1]) * r + B[2]) * r + B[3]) * r + B[4]) * r + 1.0)
    }
}

/// How many standard deviations an interval reaches to each side so that `k` intervals all hold together with
/// probability `1 - alpha` (Bonferroni).
pub(crate) fn simultaneous_z(alpha: f64, k: usize) -> f64 {
    normal_quantile(1.0 - alpha / (2.0 * k.max(1) as f64))
}

/// Wilson's score interval of a probability, after `hits` of `n` tries. Unlike the textbook interval it keeps its
/// coverage for small counts and never leaves [0, 1].
pub(crate) fn wilson(hits: f64, n: f64, z: f64) -> (f64, f64) {
    if n <= 0.0 {
        return (0.0, 1.0);
    }
    let p = hits / n;
    let z2 = z * z;
    let center = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    // The bounds at 0 and n hits are exactly 0 and 1; rounding must not move them inside.
    let low = if hits <= 0.0 { 0.0 } else { center - half };
    let high = if hits >= n { 1.0 } else { center + half };
    (low.max(0.0), high.min(1.0))
}

/// Chernoff's bound on the chance of a count as far from its mean as `hits` of `n`, each with probability `p`:
/// never below the exact chance, at any size, so it can guard a FAIL where an approximation could not.
pub(crate) fn chance_at_most(hits: f64, n: f64, p: f64) -> f64 {
    if n <= 0.0 || p <= 0.0 || p >= 1.0 {
        return 1.0;
    }
    let share = hits / n;
    let part = |a: f64, b: f64| if a > 0.0 { a * (a / b).ln() } else { 0.0 };
    (-n * (part(share, p) + part(1.0 - share, 1.0 - p))).exp()
}

/// The chance of a chi-square of at least `x` with `df` degrees of freedom, after Wilson and Hilferty (good to
/// about two digits, which is enough for a diagnostic).
pub(crate) fn chi_square_tail(x: f64, df: f64) -> f64 {
    if df <= 0.0 {
        return 1.0;
    }
    let spread = 2.0 / (9.0 * df);
    let z = ((x / df).cbrt() - (1.0 - spread)) / spread.sqrt();
    normal_tail(z)
}

/// The chance of a standard normal variable above `z` (Abramowitz and Stegun 26.2.17, error under 7.5e-8).
fn normal_tail(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - normal_tail(-z);
    }
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let poly = t
        * (0.319_381_530
            + t * (-0.356_563_782
                + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    poly * (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (p, z) in [
            (0.5, 0.0),
            (0.975, 1.959_963_985),
            (0.995, 2.575_829_304),
            (0.9975, 2.807_033_768),
            (0.01, -2.326_347_874),
            (1e-6, -4.753_424_309),
        ] {
            assert!((normal_quantile(p) - z).abs() < 1e-6, "{p}");
        }
        assert_eq!(normal_quantile(1.0), f64::INFINITY);
        assert!((simultaneous_z(0.05, 10) - 2.807_033_768).abs() < 1e-6);
    }

    #[test]
    fn wilson_is_that_of_the_books() {
        // Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
        for (hits, n, low, high) in [
            (81.0, 263.0, 0.2553, 0.3662),
            (15.0, 148.0, 0.0624, 0.1605),
            (0.0, 20.0, 0.0, 0.1611),
            (1.0, 29.0, 0.0061, 0.1718),
        ] {
            let (l, h) = wilson(hits, n, 1.959_964);
            assert!((l - low).abs() < 5e-5 && (h - high).abs() < 5e-5, "{hits}");
        }
        assert_eq!(wilson(0.0, 0.0, 2.0), (0.0, 1.0));
        assert_eq!(wilson(5.0, 5.0, 2.0).1, 1.0);
    }

    /// P(X <= k) by adding up its terms.
    fn below(k: u32, n: u32, p: f64) -> f64 {
        let mut term = (1.0 - p).powi(n as i32);
        let mut sum = term;
        for i in 0..k {
            term *= f64::from(n - i) / f64::from(i + 1) * p / (1.0 - p);
            sum += term;
        }
        sum
    }

    #[test]
    fn the_guard_is_never_below_the_exact_chance() {
        for n in [5, 20, 100] {
            for p in [0.1, 0.333, 0.5] {
                for k in 0..=n {
                    let bound = chance_at_most(f64::from(k), f64::from(n), p);
                    let exact = if f64::from(k) < f64::from(n) * p {
                        below(k, n, p)
                    } else {
                        1.0 - if k == 0 { 0.0 } else { below(k - 1, n, p) }
                    };
                    assert!(bound >= exact - 1e-12, "{k} of {n} at {p}: {bound} {exact}");
                }
            }
        }
    }

    #[test]
    fn chi_square_is_near_the_tables() {
        for (x, df, tail) in [(5.991, 2.0, 0.05), (16.919, 9.0, 0.05), (21.666, 9.0, 0.01)] {
            assert!((chi_square_tail(x, df) - tail).abs() < 0.003, "{x}");
        }
    }
}
