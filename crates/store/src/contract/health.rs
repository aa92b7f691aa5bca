//! What checks found: soft state beside the batches.

use futures_util::future::join;
use governance_domain::{Pod, RegistrationId, Status};

use super::Site;
use super::fixture::{InUse, at, entry, health, pod, put};
use crate::HealthWrite;

/// A result for an earlier registration, or for a pod that left, changes nothing.
pub async fn health_is_written_to_the_current_registration_only(site: &impl Site) {
    let mut used = InUse::open(site).await;
    let (a, b) = (pod("a", 1), pod("b", 2));
    used.commit(vec![put(&a), put(&b)]).await;
    let stale = HealthWrite {
        registration_id: RegistrationId::from_u64(3),
        ..health(&b, Status::Unhealthy, 6)
    };
    let writes = vec![
        health(&pod("nobody", 1), Status::Unhealthy, 5),
        health(&a, Status::Healthy, 5),
        stale,
    ];
    used.write_health(writes).await.expect("what does not concern anybody is no fault");
    let checked =
        Pod { status: Status::Healthy, last_health_check: Some(at(5)), updated_at: at(5), ..a };
    used.assert_holds(&[&checked, &b]).await;
    used.write_health(Vec::new()).await.expect("nothing to write is no fault");
}

/// A check that found the same again moves the time of the check and nothing else.
pub async fn updated_at_moves_with_the_status_alone(site: &impl Site) {
    let mut used = InUse::open(site).await;
    let a = pod("a", 1);
    used.commit(vec![put(&a)]).await;
    let again = HealthWrite { status_changed_at: None, ..health(&a, Status::Unhealthy, 8) };
    used.write_health(vec![again]).await.expect("it is there");
    let checked = Pod { status: Status::Unhealthy, last_health_check: Some(at(8)), ..a };
    used.assert_holds(&[&checked]).await;
}

/// It takes no number of the batches, and neither disturbs the other.
pub async fn health_is_written_beside_commits(site: &impl Site) {
    let mut used = InUse::open(site).await;
    let a = pod("a", 1);
    used.commit(vec![put(&a)]).await;
    let mut expected = vec![a.clone()];
    for number in 2..12_u8 {
        let next = pod(&format!("p{number}"), number.into());
        let batch = used.batch(used.sequence + 1, vec![put(&next)]);
        let writes = vec![health(&a, Status::Healthy, number.into())];
        let audit = vec![entry(0, Some(a.key.clone()))];
        let (committed, written) =
            join(used.store.commit(batch), used.store.write_health(&used.tenure, writes, audit))
                .await;
        committed.expect("the batch is the next one");
        written.expect("the registration is there");
        used.sequence += 1;
        expected.push(next);
        expected[0] = Pod {
            status: Status::Healthy,
            last_health_check: Some(at(number.into())),
            updated_at: at(number.into()),
            ..a.clone()
        };
    }
    let expected: Vec<&Pod> = expected.iter().collect();
    used.assert_holds(&expected).await;
}
