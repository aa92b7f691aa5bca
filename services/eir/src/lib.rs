//! The equipment identity register: may this equipment be used? Asked over HTTP (N5g-eir, 3GPP
//! TS 29.511) and over Diameter (S13, TS 29.272), answered from a file that may change at any time.
//!
//! Here: settings and wiring. `list` is what is known, `source` the file it comes from, `http` and
//! `s13` the two ways to ask. Not here: registration and connections, which are `telco-node`'s.

mod http;
mod list;
mod s13;
mod source;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use governance_client::Provider;
use telco_codec::APPLICATION_S13;
use telco_node::diameter::{self, ServerSettings};
use telco_node::fleet::{DiameterPlace, Place, bind};
use telco_node::{Duty, Settings};
use tokio_util::sync::CancellationToken;

pub use list::{EquipmentList, ListFault};

/// The list as of now, replaced as a whole.
type Current = Arc<ArcSwap<EquipmentList>>;

/// The settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every service has.
    pub place: Place,
    /// Where S13 is served.
    pub diameter: DiameterPlace,
    /// The file with the equipment.
    pub file: PathBuf,
    /// How often the file is looked at.
    pub look: Duration,
}

impl Config {
    /// What `--help` says.
    pub const HELP: &'static str = "\
Answers whether an equipment may be used: GET /n5g-eir-eic/v1/equipment-status?pei=imei-...
and S13 over Diameter.

  EIR_FILE (./equipment.list)     one line per equipment: 14 to 16 digits, a prefix such as
                                  35209900*, or a range such as 35209900000000-35209900999999, and
                                  white, black or grey; the narrowest line that fits counts
  EIR_FILE_LOOK (1s)              how often the file is looked at for a change
  DIAMETER_HOST (HTTP_HOST), DIAMETER_PORT (3868)
  DIAMETER_REALM (epc.mnc001.mcc001.3gppnetwork.org), DIAMETER_IDENTITY (POD_NAME.realm)
  DIAMETER_WATCHDOG (30s)         silence after which a peer is asked whether it lives
  DIAMETER_PEERS_MAX (100)        peers at once
";

    /// Reads them; what is wrong is noted in `settings`.
    pub fn read(settings: &mut Settings) -> Self {
        let place = Place::read(settings);
        let diameter = DiameterPlace::read(settings, &place);
        let file = settings.text("EIR_FILE").unwrap_or_else(|| "./equipment.list".to_owned());
        let second = Duration::from_secs(1);
        let look = settings.duration("EIR_FILE_LOOK", second, second / 100..=3_600 * second);
        Self { place, diameter, file: file.into(), look }
    }
}

/// Where it listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// HTTP.
    pub http: SocketAddr,
    /// Diameter.
    pub diameter: SocketAddr,
}

/// Serves until `stop`; tells `ready` where.
///
/// # Errors
/// When the file cannot be read at the start, an address cannot be had, or the description of the
/// pod is wrong.
pub async fn serve(
    config: Config,
    stop: CancellationToken,
    ready: impl FnOnce(Addresses),
) -> anyhow::Result<()> {
    let Config { place, diameter: at, file, look } = config;
    let shown = file.display().to_string();
    let (source, list) =
        source::Source::open(file).with_context(|| format!("cannot use EIR_FILE {shown}"))?;
    tracing::info!(file = shown, entries = list.len(), "equipment is known");
    let list: Current = Arc::new(ArcSwap::from_pointee(list));
    let (http, peers) = (place.bind().await?, bind(at.listen).await?);
    let addresses = Addresses { http: http.local_addr()?, diameter: peers.local_addr()? };

    let duty = Duty::default();
    let providers = vec![
        Provider::new("http", "", addresses.http.port()).with_id("eir-http"),
        Provider::new("tcp", "", addresses.diameter.port()).with_id("eir-diameter"),
    ];
    let member = place.join("eir", addresses.http.port(), providers, &[], || Ok(())).await?;
    let (asked, asked_s13) = (Arc::default(), Arc::default());
    let desk = http::Desk { list: Arc::clone(&list), asked, asked_s13: Arc::clone(&asked_s13) };
    let router = http::router(desk).merge(member.receiver().router());
    duty.spawn(|end| telco_node::http::serve(http, router, place.connections_max, end));
    let node = at.node(&place, "eir", vec![APPLICATION_S13]);
    let service = Arc::new(s13::Register {
        us: at.identity.clone(),
        list: Arc::clone(&list),
        asked: asked_s13,
    });
    let settings = ServerSettings { peers_max: at.peers_max };
    duty.spawn(|end| diameter::serve(peers, node, service, settings, end));
    duty.spawn(|end| source.follow(list, look, end));
    tracing::info!(pod = place.pod, http = %addresses.http, diameter = %addresses.diameter, "listening");
    ready(addresses);

    duty.until(stop, &place, member, None).await;
    Ok(())
}
