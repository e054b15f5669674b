//! Counters that a rate limit service keeps, and says of what is left.

use std::{convert::Infallible, sync::Arc};

use crate::{Admission, Charge, Counters, Reservation};

impl Counters {
    /// Admits a request that the service has charged, and of whose counter it says how much is left. Room is held here for the response:
    /// the service learns its cost at the end alone, and requests at the same time would not see each other. `charge.cost` is 0.
    ///
    /// The rest is the service's word. Where nothing is held it has consented already: one client alone sees what the service does.
    pub fn admit_counted_elsewhere(self: &Arc<Self>, now: u64, charge: &Charge, remaining: u64) -> Admission {
        let Ok(admission) = self.charge(now, charge, |counter, _, _| {
            counter.lease = None;
            counter.turn(now, charge.window);
            counter.spent = charge.limit.saturating_sub(remaining);
            Ok::<_, Infallible>(counter.left().max(u64::from(counter.held == 0)))
        });
        admission
    }
}

impl Reservation {
    /// Gives the room back, because the service has been told the cost. A typical cost teaches what later requests hold.
    pub fn settle_elsewhere(self, cost: u64, is_typical: bool) {
        if is_typical {
            let mut shard = self.counters.shard(self.key.rule).lock();
            if let Some(rule) = shard.get_mut(&self.key.rule) {
                rule.typical.learn(cost);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Descriptor, ExpectedCost, Window, WindowKind};

    fn charge(expected: u64) -> Charge {
        Charge {
            name: "ns/policy/rule/0".into(),
            rule: (1, 0),
            descriptor: Descriptor::default(),
            window: Window { seconds: 3600, kind: WindowKind::Epoch },
            limit: 100,
            cost: 0,
            expected: Some(ExpectedCost::Known(expected)),
            is_shadow: false,
        }
    }

    fn hold(counters: &Arc<Counters>, expected: u64, remaining: u64) -> Option<Reservation> {
        match counters.admit_counted_elsewhere(0, &charge(expected), remaining) {
            Admission::Admitted { reservation, .. } => reservation,
            Admission::Refused(_) => None,
        }
    }

    #[test]
    fn requests_at_the_same_time_see_each_other_though_the_service_does_not() {
        let counters = Arc::<Counters>::default();
        let held: Vec<_> = (0..10).map_while(|_| hold(&counters, 30, 100)).collect();
        assert_eq!(held.iter().map(Reservation::held).collect::<Vec<_>>(), [30, 30, 30, 10]);
        // The service knows the first one's cost now.
        let mut held = held.into_iter();
        held.next().unwrap().settle_elsewhere(50, true);
        assert!(hold(&counters, 30, 50).is_none(), "70 are held of 50");
        drop(held);
        assert_eq!(hold(&counters, 30, 50).unwrap().held(), 30);
    }

    #[test]
    fn one_request_alone_passes_as_the_service_says() {
        let counters = Arc::<Counters>::default();
        let alone = hold(&counters, 30, 0).unwrap();
        assert!(hold(&counters, 30, 0).is_none());
        drop(alone);
        assert!(hold(&counters, 30, 0).is_some());
    }
}
