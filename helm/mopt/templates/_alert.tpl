{{- /*
One alert of files/alerts.yaml, as JSON. Takes a dict: alert (of the file) and root (.). Each value of
it that is no part of every alert replaces %name%.
*/ -}}
{{- define "mopt.alert" -}}
{{- $rule := .root.Values.metrics.prometheusRule -}}
{{- $values := index $rule.alerts .alert.alert -}}
{{- $text := toJson (pick .alert "expr" "summary" "description") -}}
{{- range $name, $value := omit $values "enabled" "severity" "for" "labels" "annotations" -}}
{{- if not (contains (printf "%%%s%%" $name) $text) -}}
{{- fail (printf "metrics.prometheusRule.alerts.%s has no value %s" $.alert.alert $name) -}}
{{- end -}}
{{- $shown := toString $value -}}
{{- if not (kindIs "string" $value) -}}
{{- if eq (float64 $value) (floor $value) }}{{ $shown = toString (int64 $value) }}{{ end -}}
{{- end -}}
{{- $text = replace (printf "%%%s%%" $name) $shown $text -}}
{{- end -}}
{{- $selector := $rule.selector | toJson | trimPrefix "\"" | trimSuffix "\"" -}}
{{- $text = replace ",%selector%" (ternary (printf ",%s" $selector) "" (ne $selector "")) $text -}}
{{- $written := replace "%selector%" $selector $text | fromJson -}}
{{- $own := dict "summary" $written.summary "description" $written.description "runbook_url" (printf "%s#%s" $rule.runbookURL (lower .alert.alert)) -}}
{{- dict "alert" .alert.alert "expr" $written.expr "for" $values.for "labels" (merge (dict) ($values.labels | default dict) (dict "severity" $values.severity)) "annotations" (merge (dict) ($values.annotations | default dict) $own) | toJson -}}
{{- end -}}
