//! `cargo xtask bench mesh`: who learns of a death how soon, at what cost, and who is wrongly taken for dead.

fn main() {
    let arg = |n: usize, d: f64| std::env::args().nth(n).and_then(|a| a.parse().ok()).unwrap_or(d);
    let size = selvedge_bench::mesh::Size { pops: arg(1, 3.0) as usize, nodes: arg(2, 3.0) as usize };
    let d = selvedge_bench::mesh::detect(size, arg(3, 0.0), arg(4, 50.0) as usize, 1);
    let q = |l: &[std::time::Duration], p: f64| {
        l.get(((l.len() as f64 * p) as usize).min(l.len().saturating_sub(1))).copied()
    };
    println!(
        "formed {:?} in p50 {:?} p99 {:?} max {:?} / else p50 {:?} p99 {:?} max {:?} missed {} false {} rest {} worst {} largest {} calls {}",
        d.formed,
        q(&d.inside, 0.5),
        q(&d.inside, 0.99),
        d.inside.last(),
        q(&d.elsewhere, 0.5),
        q(&d.elsewhere, 0.99),
        d.elsewhere.last(),
        d.missed,
        d.false_deaths,
        d.bytes_at_rest,
        d.bytes_worst,
        d.largest,
        d.calls
    );
    println!("{:?}", selvedge_bench::mesh::quiet_minute(size, 0.2, 0.0, 1));
    println!("{:?}", selvedge_bench::mesh::quiet_minute(size, 0.0, 0.1, 1));
}
