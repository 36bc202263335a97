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
