//! The HTTP gateway: forwards `/n5g-eir-eic/…` to healthy pods of the register, and asks for the
//! status of an equipment over HTTP or, through the Diameter gateway, over S13.
//!
//! Here: settings, routes and wiring. `pods` says who is asked, `forward` how, `imei` is the short
//! question. Not here: connections of Diameter, registration.

mod forward;
mod imei;
mod pods;
mod problem;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{any, get};
use governance_client::{Member, Provider};
use http::StatusCode;
use serde_json::{Value, json};
use telco_codec::{APPLICATION_S13, Identity};
use telco_node::diameter::{Trunk, TrunkSettings, state_id};
use telco_node::fleet::{DiameterPlace, Place, aim_at};
use telco_node::{Duty, Settings};
use tokio_util::sync::CancellationToken;

use forward::Forward;
pub use forward::ForwardSettings;
use imei::S13;
use pods::Pods;
use problem::Problem;

/// The services that are asked.
const REGISTER: &str = "eir";
const RELAY: &str = "diam-gw";

/// The settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every service has.
    pub place: Place,
    /// Who we are in Diameter; nothing listens there.
    pub diameter: DiameterPlace,
    /// The bounds of what is forwarded.
    pub forward: ForwardSettings,
}

impl Config {
    /// What `--help` says.
    pub const HELP: &'static str = "\
Forwards /n5g-eir-eic/... to healthy pods of the equipment identity register, and answers
GET /imei/{imei}/status?via=http|diameter.

  DIAMETER_REALM (epc.mnc001.mcc001.3gppnetwork.org), DIAMETER_IDENTITY (POD_NAME.realm)
  DIAMETER_WATCHDOG (30s)         silence after which the Diameter gateway is asked if it lives
  ATTEMPT_TIMEOUT (500ms)         how long one pod may take before another is asked
  REQUEST_TIMEOUT (3s)            how long all attempts together may take; then 503 or 504
  REQUESTS_MAX (1000)             requests at once; then 503
";

    /// Reads them; what is wrong is noted in `settings`.
    pub fn read(settings: &mut Settings) -> Self {
        let place = Place::read(settings);
        let diameter = DiameterPlace::read(settings, &place);
        let second = Duration::from_secs(1);
        let times = second / 100..=60 * second;
        let forward = ForwardSettings {
            attempt_max: settings.duration("ATTEMPT_TIMEOUT", second / 2, times.clone()),
            total_max: settings.duration("REQUEST_TIMEOUT", 3 * second, times),
            requests_max: settings.number("REQUESTS_MAX", 1_000, 1..=100_000),
        };
        Self { place, diameter, forward }
    }
}

/// What requests need.
pub(crate) struct Shared {
    forward: Forward,
    s13: S13,
}

/// Serves until `stop`; tells `ready` where.
///
/// # Errors
/// When an address cannot be had, or the description of the pod is wrong.
pub async fn serve(
    config: Config,
    stop: CancellationToken,
    ready: impl FnOnce(SocketAddr),
) -> anyhow::Result<()> {
    let Config { place, diameter, forward } = config;
    let http = place.bind().await?;
    let address = http.local_addr()?;

    let duty = Duty::default();
    let providers = vec![Provider::new("http", "", address.port()).with_id("http-gw-http")];
    let member =
        place.join("http-gw", address.port(), providers, &[RELAY, REGISTER], || Ok(())).await?;
    let node = diameter.node(&place, "http-gw", vec![APPLICATION_S13]);
    let trunk = Arc::new(Trunk::new(node, trunk_settings(forward)));
    let shared = Arc::new(shared(&member, &diameter.identity, &trunk, forward));
    let router = router(shared).merge(member.receiver().router());
    duty.spawn(|end| telco_node::http::serve(http, router, place.connections_max, end));
    duty.spawn(|end| aim_at(member.view(), RELAY, Arc::clone(&trunk), end));
    tracing::info!(pod = place.pod, http = %address, "listening");
    ready(address);

    duty.until(stop, &place, member, Some(&trunk)).await;
    Ok(())
}

/// The relay behind asks several pods itself, so one attempt here has time for two of its own.
fn trunk_settings(forward: ForwardSettings) -> TrunkSettings {
    TrunkSettings {
        attempt_max: 2 * forward.attempt_max + forward.attempt_max / 2,
        total_max: forward.total_max,
        under_way_max: forward.requests_max,
        ..TrunkSettings::default()
    }
}

fn shared(member: &Member, us: &Identity, trunk: &Arc<Trunk>, settings: ForwardSettings) -> Shared {
    let pods = Pods::new(member.view(), REGISTER);
    let s13 = S13 {
        us: us.clone(),
        realm: us.realm().to_owned(),
        trunk: Arc::clone(trunk),
        total_max: settings.total_max,
        start: state_id(),
        next: AtomicU32::new(fastrand::u32(..)),
        requests: AtomicU64::new(0),
        failed: AtomicU64::new(0),
    };
    Shared { forward: Forward::new(pods, settings), s13 }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/n5g-eir-eic/{*path}", any(forward_on))
        .route("/imei/{imei}/status", get(imei::status))
        .route("/stats", get(stats))
        .fallback(async || Problem {
            status: StatusCode::NOT_FOUND,
            cause: "RESOURCE_URI_STRUCTURE_NOT_FOUND",
            detail: "there is nothing at this path",
        })
        .with_state(shared)
}

async fn forward_on(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Problem> {
    shared.forward.forward(request).await
}

async fn stats(State(shared): State<Arc<Shared>>) -> axum::Json<Value> {
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (forward, s13) = (&shared.forward, &shared.s13);
    axum::Json(json!({
        "http": {
            "requests": read(&forward.requests),
            "repeated": read(&forward.repeated),
            "failed": read(&forward.failed),
        },
        "diameter": {
            "requests": read(&s13.requests),
            "repeated": s13.trunk.counts().repeated,
            "failed": read(&s13.failed),
            "usable_pods": s13.trunk.usable(),
        },
    }))
}
