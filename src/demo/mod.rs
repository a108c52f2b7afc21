//! The demo service, `squall demo`: a small shop that is real enough to be loaded, killed and judged.
//!
//! It serves a catalog, a cart that keeps state and a page that costs CPU, names the instance in each response,
//! drains gracefully, and can be told to misbehave in ways that a verdict must catch ([`Defect`]). Nothing else in
//! the program needs it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::scenario::units::parse_duration;

mod counters;
mod defect;
mod line;
mod metrics;
mod server;
mod shop;
mod tls;
mod upstream;

pub use defect::Defect;

/// Flags of `squall demo`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = DEFECT_HELP)]
pub struct Options {
    /// Port to listen on; 0 takes a free one and prints it [default: the environment's PORT, else 8080]
    #[arg(long)]
    pub port: Option<u16>,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub address: IpAddr,
    /// Name of this instance, sent in each response [default: the environment's SQUALL_INSTANCE, else "demo"]
    #[arg(long)]
    pub instance: Option<String>,
    /// CPU time that one GET /work burns
    #[arg(long, default_value = "2ms", value_parser = parse_duration, value_name = "DURATION")]
    pub work: Duration,
    /// How long to go on serving after SIGTERM before idle connections are closed
    #[arg(long, default_value = "1s", value_parser = parse_duration, value_name = "DURATION")]
    pub drain_delay: Duration,
    /// Get /products from another shop at this base URL: this one is then the front of several services
    #[arg(long, value_name = "URL")]
    pub catalog_url: Option<String>,
    /// Keep /cart in another shop at this base URL
    #[arg(long, value_name = "URL")]
    pub cart_url: Option<String>,
    /// Keep the counters `begun` and `finished` (two little-endian 64-bit numbers) in this file; it can be read even
    /// after SIGKILL
    #[arg(long, value_name = "PATH")]
    pub counter_file: Option<PathBuf>,
    /// Serve TLS with this PEM certificate chain
    #[arg(long, value_name = "PATH", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The PEM private key of --tls-cert
    #[arg(long, value_name = "PATH", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Misbehave; may be given several times (see below)
    #[arg(long = "defect", value_name = "NAME[:VALUE]")]
    pub defects: Vec<Defect>,
    /// Misbehave only in this slot (compared with SQUALL_SLOT, `shop-2`); may be given several times
    #[arg(long, value_name = "SLOT")]
    pub defect_on: Vec<String>,
    /// The file by which `dies-on-restart` knows that it has run before
    #[arg(long, value_name = "PATH")]
    pub marker: Option<PathBuf>,
}

const DEFECT_HELP: &str = "\
Defects, counted and not random, so that every run shows the same:
  slow:200ms        every response of the shop takes so much longer
  errors:5%         this share of requests is answered with status 500
  empty-body        answers 200 with no body
  no-drain          SIGTERM ends the process at once; requests in flight are lost
  ready-early:3s    says that it is ready at once, but answers 503 for so long
  never-ready       never says that it is ready
  dies-on-restart   ends with exit code 1 at start if the file of --marker exists, else creates it
  leak:1MiB         keeps so much memory for each request, up to 1GiB in all
  hang:1%           this share of requests is never answered
  queue:4x20ms      4 workers take 20ms for each request, the others wait in line: 200 requests a second and no more
  slow-start:5s     up to 500ms slower while its cache is cold, less and less over this time

Routes: GET /products, GET /products/ID, POST /cart {\"id\":\"p1\"}, GET /cart, GET /work, GET /readyz, GET /healthz,
GET /counters, GET /metrics (for Prometheus), and from this machine only POST /admin/ready?ready=false.";

/// Runs the service until it is told to end.
pub fn main(options: Options) -> anyhow::Result<()> {
    let slot = std::env::var("SQUALL_SLOT").ok();
    let instance = options
        .instance
        .clone()
        .or_else(|| std::env::var("SQUALL_INSTANCE").ok())
        .unwrap_or_else(|| "demo".into());
    let defects = defect::Defects::chosen(
        &options.defects,
        &options.defect_on,
        slot.as_deref().unwrap_or(&instance),
    );
    if defects.dies_on_restart {
        die_if_restarted(options.marker.as_deref())?;
    }
    let port = match options.port {
        Some(port) => port,
        None => match std::env::var("PORT") {
            Ok(text) => text
                .parse()
                .with_context(|| format!("PORT is `{text}`, expected a port number"))?,
            Err(_) => 8080,
        },
    };
    let tls = match (&options.tls_cert, &options.tls_key) {
        (Some(cert), Some(key)) => Some(tls::acceptor(cert, key)?),
        _ => None,
    };
    let counters = counters::Counters::open(options.counter_file.as_deref())?;
    let upstreams =
        upstream::Upstreams::new(options.catalog_url.as_deref(), options.cart_url.as_deref())?;
    let shop = shop::Shop::new(instance, options.work, defects, counters, upstreams)?;
    let shop = Arc::new(shop);
    // One thread: the capacity of an instance is then one core, which is easy to reason about in a load test.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(server::serve(
        shop,
        (options.address, port).into(),
        tls,
        options.drain_delay,
    ))
}

/// The defect `dies-on-restart`: the first start leaves a marker, every later one finds it and fails.
fn die_if_restarted(marker: Option<&std::path::Path>) -> anyhow::Result<()> {
    let marker = marker.context("--defect dies-on-restart needs --marker PATH")?;
    match std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(marker)
    {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => anyhow::bail!(
            "defect dies-on-restart: {} exists, so this is a restart",
            marker.display()
        ),
        Err(e) => Err(e).with_context(|| format!("cannot create the marker {}", marker.display())),
    }
}
