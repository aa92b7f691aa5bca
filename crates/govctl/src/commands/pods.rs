//! `govctl services` and `govctl pods`: lists.

use std::collections::{BTreeMap, BTreeSet};

use governance_api::{Pod, ServiceList, Status, paths};
use serde::Serialize;

use crate::cli::PodsOptions;
use crate::fault::{Fault, Kind, Outcome};
use crate::managers::Managers;
use crate::screen::{Format, Screen};
use crate::table::{BAD, Cell, GOOD, OPEN, Table};
use crate::text::{ago_of, encoded, endpoints, now, seconds, wishes};

/// Pods asked for at once.
const PAGE: usize = 10_000;

/// A service, counted.
#[derive(Debug, Default, Serialize)]
struct Count {
    service_name: String,
    pods: usize,
    healthy: usize,
    unhealthy: usize,
    unknown: usize,
    protocols: BTreeSet<String>,
}

/// `govctl services`.
pub(crate) async fn services(screen: Screen, mut managers: Managers) -> Outcome {
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    let mut add = |pod: Pod| {
        let count = counts.entry(pod.service_name.clone()).or_default();
        count.service_name = pod.service_name;
        count.pods += 1;
        match pod.status {
            Status::Healthy => count.healthy += 1,
            Status::Unhealthy => count.unhealthy += 1,
            Status::Unknown => count.unknown += 1,
        }
        count.protocols.extend(pod.providers.into_iter().map(|provider| provider.protocol));
    };
    each_page(&mut managers, "", |page| page.services.into_iter().for_each(&mut add)).await?;
    let counts: Vec<Count> = counts.into_values().collect();
    match screen.format {
        Format::Json => return screen.json(&counts),
        Format::Name => {
            return counts.iter().try_for_each(|count| screen.line(&count.service_name));
        }
        Format::Table | Format::Wide => {}
    }
    if counts.is_empty() {
        screen.remark("no pod is registered");
        return Ok(());
    }
    let mut head = vec!["SERVICE", "PODS", "HEALTHY", "UNHEALTHY", "UNKNOWN"];
    head.extend((screen.format == Format::Wide).then_some("PROTOCOLS"));
    let mut table = Table::new(&head);
    for count in counts {
        let coloured = |number: usize, style| match number {
            0 => Cell::from("0"),
            number => Cell::styled(number.to_string(), style),
        };
        let mut row = vec![
            Cell::from(&count.service_name),
            count.pods.to_string().into(),
            coloured(count.healthy, GOOD),
            coloured(count.unhealthy, BAD),
            coloured(count.unknown, OPEN),
        ];
        if screen.format == Format::Wide {
            row.push(count.protocols.into_iter().collect::<Vec<_>>().join(", ").into());
        }
        table.push(row);
    }
    screen.table(&table)
}

/// `govctl pods [SERVICE]`.
pub(crate) async fn pods(screen: Screen, mut managers: Managers, options: PodsOptions) -> Outcome {
    let filters = [
        ("service_name", options.service.clone()),
        ("status", options.status.map(|status| status.as_str().to_owned())),
        ("protocol", options.protocol),
        ("provider_id", options.provider_id),
    ];
    let set = filters.iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    let query: Vec<String> =
        set.map(|(name, value)| format!("&{name}={}", encoded(value))).collect();
    let mut pods = Vec::new();
    each_page(&mut managers, &query.concat(), |page| pods.extend(page.services)).await?;
    if let Some(service) = &options.service
        && pods.is_empty()
        && query.len() == 1
    {
        let what = format!("no pod of service {service} is registered");
        let hint = "`govctl services` shows which services there are";
        return Err(Fault::new(Kind::NotFound, what, hint).into());
    }
    match screen.format {
        Format::Json => screen.json(&pods),
        Format::Name => pods
            .iter()
            .try_for_each(|pod| screen.line(&format!("{}/{}", pod.service_name, pod.pod_name))),
        Format::Table | Format::Wide if pods.is_empty() => {
            let remark = if query.is_empty() { "no pod is registered" } else { "no pod matches" };
            screen.remark(remark);
            Ok(())
        }
        Format::Table | Format::Wide => screen.table(&table(&pods, screen.format)),
    }
}

fn table(pods: &[Pod], format: Format) -> Table {
    const HEAD: [&str; 5] = ["SERVICE", "POD", "STATUS", "CHECKED", "ENDPOINTS"];
    const WIDE: [&str; 5] =
        ["REGISTERED", "REGISTRATION", "HEALTH CHECK", "NOTIFICATIONS", "SUBSCRIPTIONS"];
    let now = now();
    let is_wide = format == Format::Wide;
    let mut head = HEAD.to_vec();
    head.extend(WIDE.iter().filter(|_| is_wide));
    let mut table = Table::new(&head);
    for pod in pods {
        let checked = pod.last_health_check.as_deref();
        let mut row = vec![
            Cell::from(&pod.service_name),
            Cell::from(&pod.pod_name),
            status(pod.status),
            checked.map_or_else(|| "never".to_owned(), |at| ago_of(at, now)).into(),
            endpoints(&pod.providers).into(),
        ];
        if is_wide {
            row.push(seconds(&pod.registered_at).into());
            row.push(pod.registration_id.to_string().into());
            row.push(Cell::from(&pod.health_check_url));
            row.push(Cell::from(&pod.notification_url));
            row.push(wishes(&pod.subscriptions).into());
        }
        table.push(row);
    }
    table
}

/// A status as the API writes it.
pub(crate) fn word(status: Status) -> &'static str {
    match status {
        Status::Healthy => "healthy",
        Status::Unhealthy => "unhealthy",
        Status::Unknown => "unknown",
    }
}

/// A status in its colour.
pub(crate) fn status(status: Status) -> Cell {
    let style = match status {
        Status::Healthy => GOOD,
        Status::Unhealthy => BAD,
        Status::Unknown => OPEN,
    };
    Cell::styled(word(status), style)
}

/// Reads the list page by page. Pages may be of different revisions.
pub(crate) async fn each_page(
    managers: &mut Managers,
    conditions: &str,
    mut take: impl FnMut(ServiceList),
) -> Result<(), Fault> {
    let mut cursor = String::new();
    loop {
        let target = format!("{}?limit={PAGE}{conditions}{cursor}", paths::SERVICES);
        let mut page: ServiceList = managers.get(&target).await?;
        let next = page.next_cursor.take();
        take(page);
        match next {
            Some(next) => cursor = format!("&cursor={}", encoded(&next)),
            None => return Ok(()),
        }
    }
}
