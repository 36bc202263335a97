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

{{- define "mopt.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- /* ClusterRoles have no namespace: two releases of one name must not meet in one object. */ -}}
{{- define "mopt.clusterName" -}}
{{- printf "%s:%s" (include "mopt.namespace" .) (include "mopt.fullname" .) -}}
{{- end -}}

{{- /* Not the full name: with watchNamespaces a Role of that name may be there already. */ -}}
{{- define "mopt.leaseName" -}}
{{- printf "%s-leader" (include "mopt.fullname" . | trunc 56 | trimSuffix "-") -}}
{{- end -}}

{{- define "mopt.metricsName" -}}
{{- printf "%s-metrics" (include "mopt.fullname" . | trunc 55 | trimSuffix "-") -}}
{{- end -}}

{{- define "mopt.selectorLabels" -}}
app.kubernetes.io/name: {{ include "mopt.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "mopt.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{ include "mopt.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: mopt
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- /*
The metadata of an object. Takes a dict: root (.), name, and where it has them namespace, labels and
annotations of its own, which the common ones never replace.
*/ -}}
{{- define "mopt.metadata" -}}
name: {{ .name | quote }}
{{- with .namespace }}
namespace: {{ . | quote }}
{{- end }}
labels:
  {{- $own := include "mopt.labels" .root | fromYaml }}
  {{- merge (dict) (.labels | default dict) $own (.root.Values.commonLabels | default dict) | toYaml | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) (.root.Values.commonAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* The operator's ServiceAccount, as the subjects of a binding. */ -}}
{{- define "mopt.subjects" -}}
- kind: ServiceAccount
  name: {{ include "mopt.serviceAccountName" . }}
  namespace: {{ include "mopt.namespace" . }}
{{- end -}}

{{- /*
Whom a Pod runs as: what podSecurityContext says, less what OpenShift chooses. Takes a dict: user and
root (.); returns JSON.
*/ -}}
{{- define "mopt.podUser" -}}
{{- $adapt := dig "compatibility" "openshift" "adaptSecurityContext" "auto" (.root.Values.global | toJson | fromJson) -}}
{{- $openshift := .root.Capabilities.APIVersions.Has "security.openshift.io/v1" -}}
{{- $leave := or (eq $adapt "force") (and (eq $adapt "auto") $openshift) -}}
{{- $result := dict -}}
{{- if not $leave -}}
{{- range $name := list "runAsUser" "runAsGroup" "fsGroup" -}}
{{- $id := index $.user $name -}}
{{- if not (kindIs "invalid" $id) }}{{ $_ := set $result $name (int64 $id) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- with .user.supplementalGroups }}{{ $_ := set $result "supplementalGroups" . }}{{ end -}}
{{- toJson $result -}}
{{- end -}}

{{- /* The security context of a Pod of the chart's: restricted, whatever the values are. */ -}}
{{- define "mopt.podSecurityContext" -}}
runAsNonRoot: true
{{- with include "mopt.podUser" (dict "user" .Values.podSecurityContext "root" .) | fromJson }}
{{ toYaml . }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "mopt.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
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
The operator's rules: the calls that operator/mopt_operator/cluster/api.py lists, and no others. No
Secrets, no finalizers (owner references are set without blockOwnerDeletion), no deletion of Pods
(they go with their Job).
*/ -}}
{{- define "mopt.rules" -}}
- apiGroups: [mopt.dev]
  resources: [modeloptimizations]
  verbs: [get, list, watch]
- apiGroups: [mopt.dev]
  resources: [modeloptimizations/status]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [list, create]
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [list]
{{- end -}}

{{- /* The rules for profiles, which are in no namespace: those of operator/mopt_operator/cluster/offers.py. */ -}}
{{- define "mopt.profileRules" -}}
- apiGroups: [mopt.dev]
  resources: [optimizationprofiles]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [mopt.dev]
  resources: [optimizationprofiles/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [nodes]
  verbs: [list]
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end -}}
