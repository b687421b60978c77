//! Templates filled with parts of a request, and the header changes made of them.

use super::path::encode;
use super::request_id::RequestId;
use selvedge_exchange::Request;
use selvedge_types::resource::{HeaderChanges, Part, Template, Variable};
use selvedge_types::{FieldError, Fields, Method, Scheme};
use std::net::IpAddr;
use std::sync::Arc;

/// The parts of a request that templates can hold. Kept only where one does.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) method: Method,
    pub(super) scheme: Scheme,
    pub(super) host: String,
    pub(super) target: String,
    /// What the last `*` of the route's pattern stands for in the normal path.
    pub(super) rest: Vec<u8>,
    pub(super) client: IpAddr,
    pub(super) id: RequestId,
    pub(super) site: Arc<str>,
}

impl Parts {
    pub(super) fn of(request: &Request, rest: &[u8], client: IpAddr, id: RequestId, site: Arc<str>) -> Self {
        Parts {
            method: request.method.clone(),
            scheme: request.scheme,
            host: request.host().to_owned(),
            target: request.target.clone(),
            rest: rest.to_vec(),
            client,
            id,
            site,
        }
    }

    /// The template's text for this request.
    pub(super) fn fill(&self, template: &Template) -> String {
        template.parts().iter().fold(String::new(), |mut out, part| {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Variable(variable) => self.push(*variable, &mut out),
            }
            out
        })
    }

    fn push(&self, variable: Variable, out: &mut String) {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        match variable {
            Variable::Host => out.push_str(&self.host),
            Variable::Path => out.push_str(path),
            // `{path}?{query}` leaves no question mark behind where there is no query.
            Variable::Query if query.is_empty() && out.ends_with('?') => drop(out.pop()),
            Variable::Query => out.push_str(query),
            Variable::Uri => out.push_str(&self.target),
            Variable::Rest => out.push_str(&encode(&self.rest)),
            Variable::Scheme => out.push_str(self.scheme.as_str()),
            Variable::Method => out.push_str(self.method.as_str()),
            Variable::Client => out.push_str(&self.client.to_string()),
            Variable::RequestId => out.push_str(&self.id.to_string()),
            Variable::Site => out.push_str(&self.site),
        }
    }
}

/// A change to a header section.
#[derive(Debug, Clone)]
enum Change {
    Remove(Box<str>),
    Set(Box<str>, Value),
    Add(Box<str>, Value),
}

#[derive(Debug, Clone)]
enum Value {
    Fixed(Box<str>),
    Filled(Template),
}

impl Value {
    fn new(template: &Template) -> Self {
        template
            .as_literal()
            .map_or_else(|| Value::Filled(template.clone()), |text| Value::Fixed(text.into()))
    }
}

/// Changes to a header section, from the levels of site, route and rules, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Changes(Vec<Change>);

impl Changes {
    /// Adds those of another level, which come after.
    pub(super) fn extend(&mut self, more: &HeaderChanges) {
        self.0.extend(more.remove.iter().map(|n| Change::Remove(n.as_str().into())));
        self.0.extend(more.set.iter().map(|(n, t)| Change::Set(n.as_str().into(), Value::new(t))));
        for (name, templates) in &more.add {
            self.0.extend(templates.iter().map(|t| Change::Add(name.as_str().into(), Value::new(t))));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one holds a part of the request.
    pub(super) fn need_parts(&self) -> bool {
        let needs = |value: &Value| matches!(value, Value::Filled(_));
        self.0.iter().any(|c| matches!(c, Change::Set(_, v) | Change::Add(_, v) if needs(v)))
    }

    /// Makes the changes. Without `parts`, values that need them are left out.
    pub(super) fn apply(&self, fields: &mut Fields, parts: Option<&Parts>) -> Result<(), FieldError> {
        self.0.iter().try_for_each(|change| match change {
            Change::Remove(name) => {
                fields.remove_named(name.as_bytes());
                Ok(())
            }
            Change::Set(name, value) => {
                fields.remove_named(name.as_bytes());
                append(fields, name, value, parts)
            }
            Change::Add(name, value) => append(fields, name, value, parts),
        })
    }
}

fn append(fields: &mut Fields, name: &str, value: &Value, parts: Option<&Parts>) -> Result<(), FieldError> {
    match (value, parts) {
        (Value::Fixed(text), _) => fields.append(name.as_bytes(), text.as_bytes()),
        (Value::Filled(template), Some(parts)) => {
            fields.append(name.as_bytes(), parts.fill(template).as_bytes())
        }
        (Value::Filled(_), None) => Ok(()),
    }
}
