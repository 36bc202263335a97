{{- /*
What a ServiceMonitor and a PodMonitor have in common, which is all but two names. Takes a dict: root
(.), values, endpoints (the field's name) and port.
*/ -}}
{{- define "mopt.monitor" -}}
{{- $home := include "mopt.namespace" .root -}}
metadata:
  {{- include "mopt.metadata" (dict "root" .root "name" (include "mopt.metricsName" .root) "namespace" (.values.namespace | default $home) "labels" .values.labels "annotations" .values.annotations) | nindent 2 }}
spec:
  namespaceSelector:
    matchNames: [{{ $home | quote }}]
  selector:
    matchLabels:
      {{- include "mopt.selectorLabels" .root | nindent 6 }}
  {{ .endpoints }}:
    - port: {{ .port }}
      path: /metrics
      {{- if .root.Values.metrics.tls.secretName }}
      scheme: https
      tlsConfig:
        {{- include "mopt.tlsConfig" . | nindent 8 }}
      {{- end }}
      {{- if .root.Values.metrics.tls.bearerTokens }}
      {{- if .values.authorization }}
      authorization:
        {{- toYaml .values.authorization | nindent 8 }}
      {{- else if eq .endpoints "endpoints" }}
      bearerTokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token
      {{- else }}
      {{- fail "metrics.tls.bearerTokens with a PodMonitor needs metrics.podMonitor.authorization: it cannot name Prometheus' own token" }}
      {{- end }}
      {{- end }}
      interval: {{ .values.interval }}
      {{- with .values.scrapeTimeout }}
      scrapeTimeout: {{ . }}
      {{- end }}
      # namespace and name are those of the ModelOptimization, not of the operator's Pod.
      honorLabels: true
      {{- with .values.relabelings }}
      relabelings:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .values.metricRelabelings }}
      metricRelabelings:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end -}}

{{- /*
How Prometheus trusts the operator's certificate, and who it is itself: as the values say, else by the
authority in the Secret, which Prometheus' operator reads in the monitor's own namespace.
*/ -}}
{{- define "mopt.tlsConfig" -}}
{{- $home := include "mopt.namespace" .root -}}
{{- $tls := .root.Values.metrics.tls -}}
{{- if .values.tlsConfig -}}
{{- toYaml .values.tlsConfig -}}
{{- else -}}
{{- if ne (.values.namespace | default $home) $home -}}
{{- fail "metrics.tls.secretName with a monitor in another namespace needs the monitor's tlsConfig" -}}
{{- end -}}
{{- if $tls.clientCertificates -}}
{{- fail "metrics.tls.clientCertificates needs the monitor's tlsConfig, with Prometheus' certificate" -}}
{{- end -}}
ca:
  secret:
    name: {{ $tls.secretName }}
    key: ca.crt
serverName: {{ include "mopt.metricsName" .root }}.{{ $home }}.svc
{{- end -}}
{{- end -}}
