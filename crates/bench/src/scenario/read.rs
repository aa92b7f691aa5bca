//! Reads of one service; the ceiling answers the very bytes that the manager answered before.

use std::{collections::HashMap, fs::File, io::BufWriter, path::PathBuf};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::{
    bare,
    cli::LoadOptions,
    manager::fetch,
    report::Report,
    scenario::{Ground, Registry, compete, load_verdicts},
    wire::Connection,
    workload::{ChangedField, Reads, service_name},
};

/// Wanted: reads per second, against the ceiling.
const RATIO: f64 = 0.8;
/// Wanted: CPU per read with the larger registry, against the smaller.
const COST: f64 = 1.25;

pub(super) async fn run(options: &LoadOptions) -> anyhow::Result<Report> {
    let ground = Ground::prepare(options, ChangedField::Provider).await?;
    let Some(first) = ground.registries.first() else { bail!("there is no registry") };
    let answers = write_answers(first, ground.home.path().join("answers.json")).await?;
    let pods_per_service = options.fleet.pods_per_service;
    let (server, address) =
        bare::start(ground.home.path(), 1, pods_per_service, Some(&answers)).await?;
    let mut contenders = ground.contenders(&server, address)?;
    compete(&mut contenders, options, |fleet| Reads::deal(fleet, options.connections)).await?;
    let mut report = ground.report("read", options, contenders).await?;
    report.verdicts = load_verdicts(&report.loads, RATIO, COST);
    Ok(report)
}

/// Asks the manager for every service and keeps the bodies for the ceiling.
async fn write_answers(registry: &Registry, path: PathBuf) -> anyhow::Result<PathBuf> {
    let mut connection = Connection::open(registry.manager.address).await?;
    let mut answers = HashMap::new();
    for service in 0..registry.fleet.services() {
        let name = service_name(service);
        let body = fetch(&mut connection, &format!("/services/{name}")).await?;
        check_answer(&body, registry.fleet.pods_in(service))
            .with_context(|| format!("the answer for {name} is not as it should be"))?;
        let body = String::from_utf8(body).context("the manager answers no UTF-8")?;
        answers.insert(name, body);
    }
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    serde_json::to_writer(BufWriter::new(file), &answers)?;
    Ok(path)
}

/// Fast answers without the pods would be worth nothing.
fn check_answer(body: &[u8], pods: u32) -> anyhow::Result<()> {
    let body: Value = serde_json::from_slice(body)?;
    let listed = body.get("pods").and_then(Value::as_array).context("there are no pods")?;
    if u32::try_from(listed.len()) != Ok(pods) {
        bail!("it lists {} pods instead of {pods}", listed.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_answer;

    #[test]
    fn an_answer_must_list_all_pods() {
        assert!(check_answer(br#"{"pods":[{},{}]}"#, 2).is_ok());
        assert!(check_answer(br#"{"pods":[{}]}"#, 2).is_err());
        assert!(check_answer(br#"{"count":2}"#, 2).is_err());
        assert!(check_answer(b"pods", 2).is_err());
    }
}
