{{- define "mopt.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "mopt.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "mopt.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "mopt.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* ClusterRoles have no namespace: two releases of one name must not meet in one object. */ -}}
{{- define "mopt.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "mopt.fullname" .) -}}
{{- end -}}

{{- define "mopt.selectorLabels" -}}
app.kubernetes.io/name: {{ include "mopt.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "mopt.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{ include "mopt.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: mopt
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "mopt.serviceAccountName" -}}
{{- default (ternary (include "mopt.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- /* An image reference. Takes a dict: image (repository, tag, digest) and root (.). */ -}}
{{- define "mopt.image" -}}
{{- $registry := .root.Values.global.imageRegistry | trimSuffix "/" -}}
{{- $name := .image.repository -}}
{{- with $registry }}{{ $name = printf "%s/%s" . $name }}{{ end -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $name .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .root.Chart.AppVersion .image.tag) -}}
{{- end -}}
{{- end -}}

{{- /*
The operator's rules. It reads no Secret. It never deletes a Pod: deleting the Job does. It does not
need `delete` on events nor finalizers: owner references are set without blockOwnerDeletion.
*/ -}}
{{- define "mopt.rules" -}}
- apiGroups: [mopt.dev]
  resources: [modeloptimizations]
  verbs: [get, list, watch]
- apiGroups: [mopt.dev]
  resources: [modeloptimizations/status]
  verbs: [get, patch, update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [get, list, create, patch]
{{- end -}}
