//! What one worker counts in one second. Dense tables and histograms that are reused: in the steady state nothing is
//! allocated for a request.

use std::sync::Arc;

use hdrhistogram::Histogram;

use super::reply::Reply;
use crate::record::{Latency, Micros, Outcome};

/// Index of an instance's name in its worker.
pub type InstanceId = u32;

/// So many instances are told apart; the rest share one name. A header that is different in every response must not
/// eat the machine's memory.
const MAX_INSTANCES: usize = 1000;
/// The name that the rest share.
const OTHER_INSTANCES: &str = "(others)";
/// The longest time that histograms hold: one hour.
const LONGEST: Micros = 3_600_000_000;

/// Arrivals that start later than this are counted as late.
pub const LATE_US: Micros = 10_000;

/// One second of one worker.
#[derive(Debug, Default)]
pub struct Second {
    /// By step of the scenario.
    pub steps: Vec<StepMeter>,
    /// Dispatch minus intended start.
    pub lag: Meter,
    /// Dispatches that were late by more than [`LATE_US`].
    pub late: u64,
    /// Users or journeys under way.
    pub users: u64,
    /// CPU of the worker, thousandths of a core.
    pub cpu_millicores: u64,
    /// Names of instances first seen since the last second, in order of their ids.
    pub new_instances: Vec<Arc<str>>,
}

/// A histogram that exists once it is used.
#[derive(Debug, Default)]
pub struct Meter(Option<Box<Latency>>);

impl Meter {
    /// Records a time, with 3 significant digits.
    pub fn record(&mut self, time: Micros) {
        self.record_with(time, 3);
    }
    fn record_with(&mut self, time: Micros, digits: u8) {
        let histogram = self.0.get_or_insert_with(|| {
            // It grows to what is recorded; 2 and 3 digits are within the crate's bounds.
            Box::new(Histogram::new(digits).expect("valid number of digits"))
        });
        // The value is inside of what a growing histogram holds.
        let _ = histogram.record(time.clamp(1, LONGEST));
    }
    /// The histogram, if it has anything in it.
    pub fn get(&self) -> Option<&Latency> {
        self.0.as_deref().filter(|histogram| !histogram.is_empty())
    }
    fn clear(&mut self) {
        if let Some(histogram) = self.0.as_mut().filter(|histogram| !histogram.is_empty()) {
            histogram.reset();
        }
    }
}

/// One second of one step at one worker.
#[derive(Debug, Default)]
pub struct StepMeter {
    /// Requests due.
    pub due: u64,
    /// Arrivals dropped.
    pub dropped: u64,
    /// Requests ended, by outcome.
    pub ended: [u64; Outcome::ALL.len()],
    /// Statuses of answered requests.
    pub statuses: Vec<(u16, u64)>,
    /// Connections opened.
    pub connections: u64,
    /// Answers from another instance than the one before on their connection.
    pub moved: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// End of the first and last failed request.
    pub errors: Option<(Micros, Micros)>,
    /// Response time by outcome.
    pub response: [Meter; Outcome::ALL.len()],
    /// Service time of answered requests.
    pub service: Meter,
    /// Time to connect.
    pub connect: Meter,
    /// Time to agree on TLS.
    pub tls: Meter,
    /// Time to the first byte.
    pub first_byte: Meter,
    /// By instance.
    pub instances: Vec<InstanceMeter>,
}

/// One second of one step at one instance.
#[derive(Debug, Default)]
pub struct InstanceMeter {
    /// Requests answered.
    pub answered: u64,
    /// Requests failed.
    pub failed: u64,
    /// Connections whose first response came from it.
    pub connections: u64,
    /// Send times of the first answered and of the last request.
    pub first: Option<Micros>,
    /// See `first`.
    pub last: Option<Micros>,
    /// Service time of answered requests.
    pub service: Meter,
}

/// One ended request.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// Index of the step among all steps.
    pub step: usize,
    /// How it ended.
    pub outcome: Outcome,
    /// Intended start.
    pub intended: Micros,
    /// Send.
    pub sent: Micros,
    /// End.
    pub at: Micros,
    /// Who served it, or would have.
    pub instance: Option<InstanceId>,
    /// Whether it brought the first response of its connection.
    pub first_of_connection: bool,
    /// Whether another instance answered than the one before on its connection.
    pub moved: bool,
}

impl Second {
    /// An empty second of a scenario with so many steps.
    pub fn new(steps: usize) -> Self {
        let mut second = Self::default();
        second.steps.resize_with(steps, StepMeter::default);
        second
    }

    /// Counts a request as due.
    pub fn due(&mut self, step: usize) {
        self.steps[step].due += 1;
    }

    /// Counts a due request as given up.
    pub fn dropped(&mut self, step: usize) {
        self.steps[step].dropped += 1;
    }

    /// Records how late a request was dispatched.
    pub fn dispatched(&mut self, lag: Micros) {
        self.lag.record(lag);
        self.late += u64::from(lag > LATE_US);
    }

    /// Counts an ended request with all that is known of it.
    pub fn ended(&mut self, end: &End, reply: &Reply) {
        let step = &mut self.steps[end.step];
        let outcome = end.outcome as usize;
        step.ended[outcome] += 1;
        step.response[outcome].record(end.at.saturating_sub(end.intended));
        let service = end.at.saturating_sub(end.sent);
        if end.outcome.answered() {
            step.service.record(service);
            match step
                .statuses
                .iter_mut()
                .find(|(status, _)| *status == reply.status)
            {
                Some((_, count)) => *count += 1,
                None => step.statuses.push((reply.status, 1)),
            }
        }
        if reply.first_byte > 0 {
            step.first_byte
                .record(reply.first_byte.saturating_sub(end.sent));
        }
        if end.outcome.failed() {
            let (_, last) = step.errors.get_or_insert((end.at, end.at));
            *last = end.at;
        }
        for opened in &reply.opened {
            step.connections += 1;
            step.connect.record(opened.connect_us);
            if let Some(tls) = opened.tls_us {
                step.tls.record(tls);
            }
        }
        step.moved += u64::from(end.moved);
        step.sent_bytes += reply.sent_bytes;
        step.received_bytes += reply.received_bytes;
        if let Some(instance) = end.instance {
            step.instance(instance).ended(end, service);
        }
    }

    /// Empties it for its next use.
    pub fn clear(&mut self) {
        self.steps.iter_mut().for_each(StepMeter::clear);
        self.lag.clear();
        self.late = 0;
        self.new_instances.clear();
    }
}

impl StepMeter {
    /// Whether anything happened.
    pub fn active(&self) -> bool {
        self.due + self.dropped + self.connections > 0 || self.ended.iter().any(|count| *count > 0)
    }

    fn instance(&mut self, id: InstanceId) -> &mut InstanceMeter {
        let index = id as usize;
        if index >= self.instances.len() {
            self.instances
                .resize_with(index + 1, InstanceMeter::default);
        }
        &mut self.instances[index]
    }

    fn clear(&mut self) {
        self.due = 0;
        self.dropped = 0;
        self.ended = Default::default();
        self.statuses.clear();
        self.connections = 0;
        self.moved = 0;
        self.sent_bytes = 0;
        self.received_bytes = 0;
        self.errors = None;
        self.response.iter_mut().for_each(Meter::clear);
        for meter in [
            &mut self.service,
            &mut self.connect,
            &mut self.tls,
            &mut self.first_byte,
        ] {
            meter.clear();
        }
        for instance in &mut self.instances {
            instance.answered = 0;
            instance.failed = 0;
            instance.connections = 0;
            instance.first = None;
            instance.last = None;
            instance.service.clear();
        }
    }
}

impl InstanceMeter {
    fn ended(&mut self, end: &End, service: Micros) {
        if end.outcome.answered() {
            self.answered += 1;
            self.first = Some(self.first.map_or(end.sent, |first| first.min(end.sent)));
            self.service.record_with(service, 2);
        }
        self.failed += u64::from(end.outcome.failed());
        self.connections += u64::from(end.first_of_connection);
        self.last = Some(self.last.map_or(end.sent, |last| last.max(end.sent)));
    }

    /// Whether anything happened at it.
    pub fn active(&self) -> bool {
        self.answered + self.failed > 0
    }
}

/// The names of instances that a worker has seen.
#[derive(Debug, Default)]
pub struct Instances {
    names: Vec<Arc<str>>,
    told: usize,
}

impl Instances {
    /// The id of a name. `last` is what the connection answered as before: nearly always it is the same again, and
    /// one comparison is the whole look-up.
    pub fn id(&mut self, name: &[u8], last: Option<InstanceId>) -> InstanceId {
        if let Some(id) = last.filter(|id| self.names[*id as usize].as_bytes() == name) {
            return id;
        }
        if let Some(id) = self.names.iter().position(|known| known.as_bytes() == name) {
            return id as InstanceId;
        }
        if self.names.len() >= MAX_INSTANCES {
            let others = self
                .names
                .iter()
                .position(|known| &**known == OTHER_INSTANCES);
            return others.map_or_else(|| self.add(OTHER_INSTANCES.into()), |id| id as InstanceId);
        }
        // A name that is no text is shown as well as it can be; it is compared as shown from then on.
        let text = String::from_utf8_lossy(name);
        match self.names.iter().position(|known| **known == *text) {
            Some(id) => id as InstanceId,
            None => self.add(text.into()),
        }
    }

    fn add(&mut self, name: Arc<str>) -> InstanceId {
        self.names.push(name);
        (self.names.len() - 1) as InstanceId
    }

    /// The name of an id.
    pub fn name(&self, id: InstanceId) -> &str {
        &self.names[id as usize]
    }

    /// Puts the names not yet handed over into a second.
    pub fn tell(&mut self, second: &mut Second) {
        second
            .new_instances
            .extend_from_slice(&self.names[self.told..]);
        self.told = self.names.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_id_and_their_number_is_bounded() {
        let mut instances = Instances::default();
        let a = instances.id(b"a", None);
        assert_eq!(instances.id(b"a", Some(a)), a);
        assert_ne!(instances.id(b"b", Some(a)), a);
        let odd = instances.id(b"\xff", None);
        assert_eq!(instances.id(b"\xff", Some(odd)), odd);
        for i in 0..2 * MAX_INSTANCES {
            instances.id(i.to_string().as_bytes(), None);
        }
        let mut second = Second::new(0);
        instances.tell(&mut second);
        assert_eq!(second.new_instances.len(), MAX_INSTANCES + 1);
        let last = instances.id(b"new", None);
        assert_eq!(instances.name(last), OTHER_INSTANCES);
        second.clear();
        instances.tell(&mut second);
        assert!(second.new_instances.is_empty());
    }

    #[test]
    fn a_cleared_second_is_empty_again() {
        let mut second = Second::new(1);
        let reply = Reply {
            status: 200,
            first_byte: 30,
            ..Reply::default()
        };
        let end = End {
            step: 0,
            outcome: Outcome::Status,
            intended: 10,
            sent: 20,
            at: 50,
            instance: Some(2),
            first_of_connection: true,
            moved: true,
        };
        second.due(0);
        second.dispatched(20_000);
        second.ended(&end, &reply);
        let step = &second.steps[0];
        assert_eq!(
            step.response[Outcome::Status as usize].get().unwrap().max(),
            40
        );
        assert_eq!(step.service.get().unwrap().max(), 30);
        assert_eq!(step.first_byte.get().unwrap().max(), 10);
        assert_eq!(step.errors, Some((50, 50)));
        assert_eq!(step.moved, 1);
        let instance = &step.instances[2];
        assert_eq!(
            (instance.answered, instance.failed, instance.connections),
            (1, 1, 1)
        );
        assert_eq!((instance.first, instance.last), (Some(20), Some(20)));
        assert_eq!(second.late, 1);
        second.clear();
        let step = &second.steps[0];
        assert!(
            step.due + step.moved == 0
                && step.ended.iter().all(|n| *n == 0)
                && step.statuses.is_empty()
        );
        assert!(step.service.get().is_none() && !step.instances[2].active());
        assert!(second.lag.get().is_none() && second.late == 0);
    }
}
