//! k-means: which of a number of clusters each point belongs to.

use js_sys::{Array, Number};
use wasm_bindgen::prelude::*;

/// Assigns points to clusters.
///
/// The centres start at evenly spaced points, and move until nothing changes.
///
/// * `input`: a list of points, each a list of as many numbers as the others.
/// * `clusters`: how many clusters, from 1 to the number of points.
///
/// Returns the number of the cluster of each point, counted from 0.
#[wasm_bindgen]
pub fn main(input: &JsValue, clusters: &JsValue) -> Result<Box<[JsValue]>, JsValue> {
    let points = points_of(input)?;
    let count = clusters.as_f64().unwrap_or(0.0);
    if count.fract() != 0.0 || count < 1.0 || count > points.len() as f64 {
        return Err(wrong(&format!(
            "the number of clusters must be between 1 and the {} points",
            points.len()
        )));
    }
    let labels = kmeans(&points, count as usize);
    Ok(labels
        .into_iter()
        .map(|label| JsValue::from_f64(label as f64))
        .collect())
}

fn points_of(input: &JsValue) -> Result<Vec<Vec<f64>>, JsValue> {
    let points: Vec<Vec<f64>> = Array::from(input)
        .iter()
        .map(|point| Array::from(&point).iter().map(|x| Number::from(x).value_of()).collect())
        .collect();
    match points.first() {
        None => Err(wrong("there are no points")),
        Some(first) if points.iter().any(|point| point.len() != first.len()) => {
            Err(wrong("the points must all have as many numbers"))
        }
        Some(_) => Ok(points),
    }
}

fn wrong(text: &str) -> JsValue {
    JsValue::from_str(text)
}

fn kmeans(points: &[Vec<f64>], clusters: usize) -> Vec<usize> {
    let mut centres: Vec<Vec<f64>> = (0..clusters)
        .map(|cluster| points[evenly(cluster, clusters, points.len())].clone())
        .collect();
    let mut labels = vec![usize::MAX; points.len()];
    loop {
        let found: Vec<usize> = points.iter().map(|point| nearest(point, &centres)).collect();
        if found == labels {
            return labels;
        }
        labels = found;
        for (cluster, centre) in centres.iter_mut().enumerate() {
            let own: Vec<&Vec<f64>> = points
                .iter()
                .zip(&labels)
                .filter(|(_, &label)| label == cluster)
                .map(|(point, _)| point)
                .collect();
            // a cluster that nobody belongs to stays where it is
            if !own.is_empty() {
                for (axis, x) in centre.iter_mut().enumerate() {
                    *x = own.iter().map(|point| point[axis]).sum::<f64>() / own.len() as f64;
                }
            }
        }
    }
}

fn evenly(cluster: usize, clusters: usize, points: usize) -> usize {
    if clusters == 1 {
        0
    } else {
        cluster * (points - 1) / (clusters - 1)
    }
}

fn nearest(point: &[f64], centres: &[Vec<f64>]) -> usize {
    let mut best = 0;
    let mut least = f64::INFINITY;
    for (cluster, centre) in centres.iter().enumerate() {
        let distance: f64 = point.iter().zip(centre).map(|(a, b)| (a - b) * (a - b)).sum();
        if distance < least {
            best = cluster;
            least = distance;
        }
    }
    best
}
