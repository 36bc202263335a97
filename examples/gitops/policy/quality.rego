# As quality.cue, for those who prefer Rego.
# cosign verify-attestation --type https://mopt.dev/quality/v1 --policy quality.rego ...
package signature

default allow = false

allow {
	input.predicateType == "https://mopt.dev/quality/v1"
	input.predicate.data.evaluation.digest == "sha256:f50fba360cf965b5b80ad365e34aa4492f19caedd238539dcaf4fd0086181adb"
	count(input.predicate.quality.gates) > 0
	count([gate | gate := input.predicate.quality.gates[_]; gate.verdict != "PASSED"]) == 0
	figure := input.predicate.quality.figures[_]
	figure.metric == "PSNR"
	figure.worst >= 35
}
