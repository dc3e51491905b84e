//! Looks at the objects elsewhere that were applied: what others did to them.

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use reactorcide_engine::address::Address;
use reactorcide_engine::outside::{
    Access, Object, Observation, Outside, Place, Sight, compare, last_of, target_of,
};
use reactorcide_engine::store::Snapshot;
use serde_json::Value;

/// How many objects are looked at at once.
const AT_ONCE: usize = 16;

/// Looks at the objects that are ours and where they shall be; of these resources only, where some are named.
pub async fn observe(snapshot: &Snapshot, only: &[Address], outside: &dyn Outside) -> Vec<Observation> {
    let is_owed = |place: &Place| snapshot.owed.iter().any(|owed| owed.place == *place);
    let settled =
        snapshot.objects.iter().filter(|object| object.applied.is_some() && !is_owed(&object.place));
    let wanted = settled.filter_map(|object| {
        let (address, head) = snapshot.heads.iter().find(|(_, head)| head.uid == object.uid)?;
        let spec = target_of(&head.document)?;
        let access = Access::new(&spec, &object.place);
        (only.is_empty() || only.contains(address)).then_some((object, access))
    });
    let mut looks: Vec<BoxFuture<'_, Observation>> = Vec::new();
    for (object, access) in wanted {
        looks.push(Box::pin(look(object, access, outside)));
    }
    let mut seen: Vec<Observation> = stream::iter(looks).buffer_unordered(AT_ONCE).collect().await;
    seen.sort_by(|a, b| (&a.uid, &a.place).cmp(&(&b.uid, &b.place)));
    seen
}

async fn look(object: &Object, access: Access, outside: &dyn Outside) -> Observation {
    let applied = last_of(object);
    let is_same = |seen: &Value| applied.as_ref().is_some_and(|last| compare(seen, last, None).is_empty());
    let sight = match outside.look(&access).await {
        Ok(Some(seen)) if is_same(&seen.body) => Sight::Same,
        Ok(Some(seen)) => Sight::Present(seen.shown),
        Ok(None) => Sight::Absent,
        Err(error) => Sight::Unknown(error.to_string()),
    };
    Observation { uid: object.uid.clone(), place: access.place, sight }
}
