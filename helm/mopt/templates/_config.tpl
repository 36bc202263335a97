{{- /* A string, or null where it is empty. Takes the string; returns JSON. */ -}}
{{- define "mopt.orNull" -}}
{{- if . }}{{ toJson . }}{{ else }}null{{ end -}}
{{- end -}}

{{- /* A number, or null where it is 0. Takes the number; returns JSON. */ -}}
{{- define "mopt.countOrNull" -}}
{{- if . }}{{ int64 . }}{{ else }}null{{ end -}}
{{- end -}}

{{- /* A quantity as a string, without the exponent that templates give large numbers. */ -}}
{{- define "mopt.quantity" -}}
{{- toJson . | trimAll "\"" -}}
{{- end -}}

{{- /* A quantity as a string, or null where it is an empty string or null. Returns JSON. */ -}}
{{- define "mopt.quantityOrNull" -}}
{{- $text := include "mopt.quantity" . -}}
{{- if or (eq $text "") (eq $text "null") }}null{{ else }}{{ quote $text }}{{ end -}}
{{- end -}}

{{- /* One side of resources. Takes a map; returns JSON. */ -}}
{{- define "mopt.quantities" -}}
{{- $result := dict -}}
{{- range $name, $amount := . }}{{ $_ := set $result $name (include "mopt.quantity" $amount) }}{{ end -}}
{{- toJson $result -}}
{{- end -}}

{{- /* A profile's image, or null where it names none. Takes a dict: image and root (.). */ -}}
{{- define "mopt.profileImage" -}}
{{- if .image }}{{ include "mopt.image" . | toJson }}{{ else }}null{{ end -}}
{{- end -}}

{{- /* A complete profile. Takes a dict: profile and root (.). */ -}}
{{- define "mopt.profile" -}}
{{- $profile := .profile -}}
{{- $default := .root.Values.profiles.default -}}
{{- $resources := $profile.resources | default $default.resources | default dict -}}
{
  "nodeSelector": {{ $profile.nodeSelector | default dict | toJson }},
  "tolerations": {{ $profile.tolerations | default list | toJson }},
  "resources": {
    "requests": {{ include "mopt.quantities" ($resources.requests | default dict) }},
    "limits": {{ include "mopt.quantities" ($resources.limits | default dict) }}
  },
  "nodeAffinity": {{ $profile.nodeAffinity | default list | toJson }},
  "serviceAccountName": {{ include "mopt.orNull" $profile.serviceAccountName }},
  "runtimeClassName": {{ include "mopt.orNull" $profile.runtimeClassName }},
  "priorityClassName": {{ include "mopt.orNull" $profile.priorityClassName }},
  "scratchSize": {{ include "mopt.quantity" ($profile.scratchSize | default $default.scratchSize) | quote }},
  "image": {{ include "mopt.profileImage" (dict "image" $profile.image "root" .root) }},
  "buildOnly": {{ $profile.buildOnly | default false }},
  "computeCapabilities": {{ $profile.computeCapabilities | default list | toJson }},
  "maxRunning": {{ include "mopt.countOrNull" $profile.maxRunning }},
  "measurementSlots": {{ int64 ($profile.measurementSlots | default 1) }},
  "queuePriorityClassName": {{ include "mopt.orNull" $profile.queuePriorityClassName }},
  "pricePerHour": {{ include "mopt.quantityOrNull" $profile.pricePerHour }},
  "wattsIdle": {{ toJson $profile.wattsIdle }},
  "wattsBusy": {{ toJson $profile.wattsBusy }},
  "podLabels": {{ $profile.podLabels | default dict | toJson }},
  "podAnnotations": {{ $profile.podAnnotations | default dict | toJson }}
}
{{- end -}}

{{- define "mopt.defaultOutput" -}}
{{- $output := .Values.defaultOutput -}}
{{- if and $output.credentialsSecretRef.name (not $output.uri) -}}
{{- fail "defaultOutput.credentialsSecretRef.name is set but defaultOutput.uri is empty: set defaultOutput.uri=s3://BUCKET/{namespace}" -}}
{{- end -}}
{{- if not $output.uri -}}
null
{{- else if $output.credentialsSecretRef.name -}}
{{- dict "uri" $output.uri "credentialsSecretRef" (dict "name" $output.credentialsSecretRef.name) | toJson -}}
{{- else -}}
{{- dict "uri" $output.uri | toJson -}}
{{- end -}}
{{- end -}}

{{- /* How what to serve is published. Takes the root; returns JSON. */ -}}
{{- define "mopt.publish" -}}
{{- $publish := .Values.publish -}}
{
  "baseImage": {{ include "mopt.orNull" $publish.baseImage }},
  "resources": {
    "requests": {{ include "mopt.quantities" ($publish.resources.requests | default dict) }},
    "limits": {{ include "mopt.quantities" ($publish.resources.limits | default dict) }}
  },
  "signing": {{ if $publish.signing.secretName }}{{ toJson $publish.signing }}{{ else }}null{{ end }}
}
{{- end -}}

{{- /* What all Jobs' Pods have. Takes the root; returns JSON. */ -}}
{{- define "mopt.jobs" -}}
{{- $user := include "mopt.podUser" (dict "user" .Values.jobs.podSecurityContext "root" .) | mustFromJson -}}
{
  "podSecurityContext": {
    "runAsUser": {{ toJson $user.runAsUser }},
    "runAsGroup": {{ toJson $user.runAsGroup }},
    "fsGroup": {{ toJson $user.fsGroup }},
    "supplementalGroups": {{ toJson $user.supplementalGroups }}
  },
  "extraEnv": {{ toJson .Values.jobs.extraEnv }},
  "extraVolumes": {{ toJson .Values.jobs.extraVolumes }},
  "extraVolumeMounts": {{ toJson .Values.jobs.extraVolumeMounts }}
}
{{- end -}}

{{- define "mopt.tlsFolder" -}}/etc/mopt-tls{{- end -}}

{{- /* The certificate of the health port, or null. Takes the root; returns JSON. */ -}}
{{- define "mopt.healthTls" -}}
{{- with .Values.metrics.tls -}}
{{- if .secretName -}}
{{- dict "folder" (include "mopt.tlsFolder" $) "clientCertificates" .clientCertificates | toJson -}}
{{- else if .clientCertificates -}}
{{- fail "metrics.tls.clientCertificates needs metrics.tls.secretName" -}}
{{- else -}}
null
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* What the operator reads from MOPT_OPERATOR_CONFIG (operator/mopt_operator/config/settings.py). */ -}}
{{- define "mopt.config" -}}
{{- $profiles := dict -}}
{{- range $name, $profile := .Values.profiles -}}
{{- $complete := include "mopt.profile" (dict "profile" $profile "root" $) -}}
{{- $_ := set $profiles $name (mustFromJson $complete) -}}
{{- end -}}
{{- dict
  "optimizerImage" (include "mopt.image" (dict "image" .Values.optimizerImage "root" .))
  "imagePullPolicy" .Values.optimizerImage.pullPolicy
  "imagePullSecrets" .Values.optimizerImage.pullSecrets
  "defaultOutput" (include "mopt.defaultOutput" . | mustFromJson)
  "profiles" $profiles
  "watchNamespaces" .Values.watchNamespaces
  "jobs" (include "mopt.jobs" . | mustFromJson)
  "logFormat" .Values.logFormat
  "logLevel" .Values.logLevel
  "onUpgrade" .Values.onUpgrade
  "knownBad" .Values.knownBad
  "publish" (include "mopt.publish" . | mustFromJson)
  "maxRunningPerNamespace" (include "mopt.countOrNull" .Values.maxRunningPerNamespace | mustFromJson)
  "sandbox" .Values.sandbox
  "healthTls" (include "mopt.healthTls" . | mustFromJson)
  "leaderElection" (dict "namespace" (include "mopt.namespace" .) "name" (include "mopt.leaseName" .))
  "ttlSecondsAfterFinished" .Values.ttlSecondsAfterFinished
  | toPrettyJson -}}
{{- end -}}
