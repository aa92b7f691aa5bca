//! The Diameter gateway: a relay between peers that ask over S13 and the pods of the register that
//! governance names.
//!
//! Here: settings and wiring. `relay` says what may go on. Not here: connections and fail-over,
//! which are `telco-node`'s.

mod relay;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use governance_client::{Provider, Status, View};
use serde_json::json;
use telco_codec::{APPLICATION_RELAY, APPLICATION_S13};
use telco_node::diameter::{self, ServerSettings, Trunk, TrunkSettings};
use telco_node::fleet::{DiameterPlace, Place, aim_at, bind};
use telco_node::{Duty, Settings};
use tokio_util::sync::CancellationToken;

/// The service whose pods answer.
const REGISTER: &str = "eir";

/// The settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every service has.
    pub place: Place,
    /// Where peers connect.
    pub diameter: DiameterPlace,
    /// The bounds of what is relayed.
    pub trunk: TrunkSettings,
}

impl Config {
    /// What `--help` says.
    pub const HELP: &'static str = "\
Relays S13 requests to a healthy pod of the equipment identity register.

  DIAMETER_HOST (HTTP_HOST), DIAMETER_PORT (3868)
  DIAMETER_REALM (epc.mnc001.mcc001.3gppnetwork.org), DIAMETER_IDENTITY (POD_NAME.realm)
  DIAMETER_WATCHDOG (30s)         silence after which a peer is asked whether it lives
  DIAMETER_PEERS_MAX (100)        peers at once
  ATTEMPT_TIMEOUT (500ms)         how long one pod may take before another is asked
  REQUEST_TIMEOUT (2s)            how long all attempts together may take; then 3002
  REQUESTS_MAX (10000)            requests at once; then 3004
";

    /// Reads them; what is wrong is noted in `settings`.
    pub fn read(settings: &mut Settings) -> Self {
        let place = Place::read(settings);
        let diameter = DiameterPlace::read(settings, &place);
        Self { place, diameter, trunk: read_trunk(settings) }
    }
}

fn read_trunk(settings: &mut Settings) -> TrunkSettings {
    let second = Duration::from_secs(1);
    let times = second / 100..=60 * second;
    let defaults = TrunkSettings::default();
    TrunkSettings {
        attempt_max: settings.duration("ATTEMPT_TIMEOUT", defaults.attempt_max, times.clone()),
        total_max: settings.duration("REQUEST_TIMEOUT", defaults.total_max, times),
        under_way_max: settings.number("REQUESTS_MAX", defaults.under_way_max, 1..=1_000_000),
        attempts_max: defaults.attempts_max,
    }
}

/// Where it listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// `/health`, `/notify`, `/stats`.
    pub http: SocketAddr,
    /// Diameter.
    pub diameter: SocketAddr,
}

/// Serves until `stop`; tells `ready` where.
///
/// # Errors
/// When an address cannot be had, or the description of the pod is wrong.
pub async fn serve(
    config: Config,
    stop: CancellationToken,
    ready: impl FnOnce(Addresses),
) -> anyhow::Result<()> {
    let Config { place, diameter: at, trunk } = config;
    let (http, peers) = (place.bind().await?, bind(at.listen).await?);
    let addresses = Addresses { http: http.local_addr()?, diameter: peers.local_addr()? };
    let node = at.node(&place, "diam-gw", vec![APPLICATION_S13, APPLICATION_RELAY]);
    let trunk = Arc::new(Trunk::new(Arc::clone(&node), trunk));

    let duty = Duty::default();
    let providers =
        vec![Provider::new("tcp", "", addresses.diameter.port()).with_id("diam-gw-diameter")];
    let reach = Arc::new(Reach::new(&trunk));
    let checked = Arc::clone(&reach);
    let health = move || checked.check();
    let member =
        place.join("diam-gw", addresses.http.port(), providers, &[REGISTER], health).await?;
    // Set once, here.
    let _ = reach.view.set(member.view());
    let router = stats(Arc::clone(&trunk)).merge(member.receiver().router());
    duty.spawn(|end| telco_node::http::serve(http, router, place.connections_max, end));
    duty.spawn(|end| aim_at(member.view(), REGISTER, Arc::clone(&trunk), end));
    let service = Arc::new(relay::Relay { us: at.identity.clone(), trunk: Arc::clone(&trunk) });
    let settings = ServerSettings { peers_max: at.peers_max };
    duty.spawn(|end| diameter::serve(peers, node, service, settings, end));
    tracing::info!(pod = place.pod, http = %addresses.http, diameter = %addresses.diameter, "listening");
    ready(addresses);

    duty.until(stop, &place, member, Some(&trunk)).await;
    Ok(())
}

/// How long we may be without a connection before we say so: pods come, go and are connected to
/// between two looks.
const CUT_OFF: Duration = Duration::from_secs(2);

/// The truth about ourselves: well, unless we cannot reach pods that governance finds healthy. That
/// there are none is not our fault, and we answer it with 3002.
struct Reach {
    trunk: Arc<Trunk>,
    /// Set once we have joined.
    view: OnceLock<View>,
    /// When a look first found no connection; none since the last that found one.
    cut_off: Mutex<Option<Instant>>,
}

impl Reach {
    fn new(trunk: &Arc<Trunk>) -> Self {
        Self { trunk: Arc::clone(trunk), view: OnceLock::new(), cut_off: Mutex::default() }
    }

    fn check(&self) -> Result<(), String> {
        let Some(view) = self.view.get() else { return Ok(()) };
        let healthy = view.pods(REGISTER);
        let healthy = healthy.iter().filter(|pod| pod.status() == Status::Healthy).count();
        let mut cut_off = self.cut_off.lock().unwrap_or_else(PoisonError::into_inner);
        if healthy == 0 || self.trunk.connected() > 0 {
            *cut_off = None;
            return Ok(());
        }
        if cut_off.get_or_insert_with(Instant::now).elapsed() < CUT_OFF {
            return Ok(());
        }
        Err(format!("no connection to any of {healthy} healthy pods of {REGISTER}"))
    }
}

fn stats(trunk: Arc<Trunk>) -> Router {
    let shown = move || {
        let counts = trunk.counts();
        let body = json!({
            "requests": counts.requests,
            "repeated": counts.repeated,
            "undelivered": counts.undelivered,
            "under_way": trunk.under_way(),
            "usable_pods": trunk.usable(),
        });
        async move { axum::Json(body) }
    };
    Router::new().route("/stats", get(shown))
}
