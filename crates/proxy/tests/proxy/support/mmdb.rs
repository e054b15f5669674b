//! Writes databases in MaxMind's format (MaxMind DB file format specification 2.0) for tests: networks of IPv4, and what is known of them.

use std::net::Ipv4Addr;

/// Value of a record.
pub(crate) enum Field {
    Text(&'static str),
    Short(u16),
    Number(u32),
    Long(u64),
    Bool(bool),
    List(Vec<Field>),
    Map(Vec<(&'static str, Field)>),
}

/// A database of this type: each network by address and length, with its record.
pub(crate) fn database(kind: &'static str, networks: &[(Ipv4Addr, u8, Field)]) -> Vec<u8> {
    let (mut nodes, mut data) = (vec![[None; 2]], Vec::new());
    for (address, length, record) in networks {
        insert(&mut nodes, u32::from(*address), *length, data.len() as u32);
        write(&mut data, record);
    }
    let count = nodes.len() as u32;
    let mut bytes: Vec<u8> = nodes
        .iter()
        .flatten()
        .flat_map(|record| {
            match record {
                None => count,
                Some(Place::Node(node)) => *node,
                Some(Place::Data(offset)) => count + 16 + offset,
            }
            .to_be_bytes()
        })
        .collect();
    bytes.extend([0; 16]);
    bytes.extend(data);
    bytes.extend(b"\xab\xcd\xefMaxMind.com");
    let metadata = Field::Map(vec![
        ("node_count", Field::Number(count)),
        ("record_size", Field::Short(32)),
        ("ip_version", Field::Short(4)),
        ("database_type", Field::Text(kind)),
        ("languages", Field::List(vec![Field::Text("en")])),
        ("binary_format_major_version", Field::Short(2)),
        ("binary_format_minor_version", Field::Short(0)),
        ("build_epoch", Field::Long(1_700_000_000)),
        ("description", Field::Map(vec![("en", Field::Text("test"))])),
    ]);
    write(&mut bytes, &metadata);
    bytes
}

#[derive(Clone, Copy)]
enum Place {
    Node(u32),
    Data(u32),
}

fn insert(nodes: &mut Vec<[Option<Place>; 2]>, address: u32, length: u8, offset: u32) {
    let mut node = 0;
    for bit in 0..length {
        let side = (address >> (31 - bit) & 1) as usize;
        if bit + 1 == length {
            nodes[node][side] = Some(Place::Data(offset));
            return;
        }
        node = match nodes[node][side] {
            Some(Place::Node(next)) => next as usize,
            _ => {
                nodes.push([None; 2]);
                nodes[node][side] = Some(Place::Node(nodes.len() as u32 - 1));
                nodes.len() - 1
            }
        };
    }
}

fn write(out: &mut Vec<u8>, field: &Field) {
    match field {
        Field::Text(text) => {
            match text.len() {
                length @ 0..29 => out.push(2 << 5 | length as u8),
                length => out.extend([2 << 5 | 29, (length - 29) as u8]),
            }
            out.extend(text.as_bytes());
        }
        Field::Number(number) => {
            out.push(6 << 5 | 4);
            out.extend(number.to_be_bytes());
        }
        Field::Short(number) => {
            out.push(5 << 5 | 2);
            out.extend(number.to_be_bytes());
        }
        Field::Long(number) => {
            out.extend([8, 9 - 7]);
            out.extend(number.to_be_bytes());
        }
        Field::Bool(value) => out.extend([u8::from(*value), 14 - 7]),
        Field::List(items) => {
            out.extend([items.len() as u8, 11 - 7]);
            items.iter().for_each(|item| write(out, item));
        }
        Field::Map(members) => {
            out.push(7 << 5 | members.len() as u8);
            for (name, value) in members {
                write(out, &Field::Text(name));
                write(out, value);
            }
        }
    }
}
