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
  "podAnnotations": {{ $profile.podAnnotations | default dict | toJson }},
  "resourceClaims": {{ $profile.resourceClaims | default list | toJson }},
  "extraVolumes": {{ $profile.extraVolumes | default list | toJson }},
  "extraVolumeMounts": {{ $profile.extraVolumeMounts | default list | toJson }},
  "namespaceSelector": {{ if $profile.namespaceSelector }}{{ toJson $profile.namespaceSelector }}{{ else }}null{{ end }}
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
  "extraVolumeMounts": {{ toJson .Values.jobs.extraVolumeMounts }},
  "storeIdentity": {{ include "mopt.storeIdentity" .Values.jobs.storeIdentity }}
}
{{- end -}}

{{- /* Whose keys Jobs use where a resource names no Secret, or null. Takes the values; returns JSON. */ -}}
{{- define "mopt.storeIdentity" -}}
{{- if .audience -}}
{
  "audience": {{ toJson .audience }},
  "roleArn": {{ include "mopt.orNull" .roleArn }},
  "endpoint": {{ include "mopt.orNull" .endpoint }},
  "stsEndpoint": {{ include "mopt.orNull" .stsEndpoint }},
  "region": {{ include "mopt.orNull" .region }},
  "expirationSeconds": {{ int64 .expirationSeconds }}
}
{{- else if or .roleArn .endpoint .stsEndpoint .region -}}
{{- fail "jobs.storeIdentity needs an audience" -}}
{{- else -}}
null
{{- end -}}
{{- end -}}

{{- /* How many requests the operator makes, or null. Takes the values; returns JSON. */ -}}
{{- define "mopt.kubeApi" -}}
{{- $bounds := . | default dict -}}
{{- if $bounds.qps -}}
{"qps": {{ toJson $bounds.qps }}, "burst": {{ int64 ($bounds.burst | default 1) }}}
{{- else -}}
null
{{- end -}}
{{- end -}}

{{- define "mopt.tlsFolder" -}}/etc/mopt-tls{{- end -}}

{{- /* Where traces go, or null. Takes the root; returns JSON. */ -}}
{{- define "mopt.tracing" -}}
{{- $tracing := .Values.tracing | default dict -}}
{{- if not $tracing.enabled -}}
null
{{- else if not $tracing.endpoint -}}
{{- fail "tracing.enabled needs tracing.endpoint, such as http://otel-collector.observability:4318" -}}
{{- else -}}
{{- dict "endpoint" $tracing.endpoint "samplingRatio" $tracing.samplingRatio | toJson -}}
{{- end -}}
{{- end -}}

{{- /* The port of a collector's address. Takes the address. */ -}}
{{- define "mopt.tracingPort" -}}
{{- $url := urlParse . -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- $port | default (eq $url.scheme "https" | ternary "443" "80") -}}
{{- end -}}

{{- /* The certificate of the health port, or null. Takes the root; returns JSON. */ -}}
{{- define "mopt.healthTls" -}}
{{- with .Values.metrics.tls -}}
{{- $tokens := .bearerTokens | default false -}}
{{- if .secretName -}}
{{- dict "folder" (include "mopt.tlsFolder" $) "clientCertificates" .clientCertificates "bearerTokens" $tokens | toJson -}}
{{- else if .clientCertificates -}}
{{- fail "metrics.tls.clientCertificates needs metrics.tls.secretName" -}}
{{- else if $tokens -}}
{{- fail "metrics.tls.bearerTokens needs metrics.tls.secretName: tokens are not sent over plain HTTP" -}}
{{- else -}}
null
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* "true" where profiles are objects of the cluster, which takes a ClusterRole. Takes the root. */ -}}
{{- define "mopt.profileObjects" -}}
{{- $enabled := (.Values.profileObjects | default dict).enabled -}}
{{- if kindIs "invalid" $enabled }}{{ empty .Values.watchNamespaces }}{{ else }}{{ $enabled }}{{ end -}}
{{- end -}}

{{- /* All profiles, by name; no part of the configuration, since their changes restart nothing. */ -}}
{{- define "mopt.profiles" -}}
{{- $profiles := dict -}}
{{- $objects := eq (include "mopt.profileObjects" .) "true" -}}
{{- range $name, $profile := .Values.profiles -}}
{{- if and $profile.namespaceSelector (not $objects) -}}
{{- fail (printf "profiles.%s.namespaceSelector needs profileObjects.enabled=true" $name) -}}
{{- end -}}
{{- $complete := include "mopt.profile" (dict "profile" $profile "root" $) -}}
{{- $_ := set $profiles $name (mustFromJson $complete) -}}
{{- end -}}
{{- toPrettyJson $profiles -}}
{{- end -}}

{{- /* What the operator reads from MOPT_OPERATOR_CONFIG (operator/mopt_operator/config/settings.py). */ -}}
{{- define "mopt.config" -}}
{{- dict
  "optimizerImage" (include "mopt.image" (dict "image" .Values.optimizerImage "root" .))
  "imagePullPolicy" .Values.optimizerImage.pullPolicy
  "imagePullSecrets" .Values.optimizerImage.pullSecrets
  "defaultOutput" (include "mopt.defaultOutput" . | mustFromJson)
  "profilesFile" "/etc/mopt/profiles.json"
  "profileObjects" (eq (include "mopt.profileObjects" .) "true")
  "watchNamespaces" .Values.watchNamespaces
  "jobs" (include "mopt.jobs" . | mustFromJson)
  "logFormat" .Values.logFormat
  "logLevel" .Values.logLevel
  "onUpgrade" .Values.onUpgrade
  "knownBad" .Values.knownBad
  "publish" (include "mopt.publish" . | mustFromJson)
  "maxRunningPerNamespace" (include "mopt.countOrNull" .Values.maxRunningPerNamespace | mustFromJson)
  "sandbox" .Values.sandbox
  "tracing" (include "mopt.tracing" . | mustFromJson)
  "restartsFile" "/tmp/restarts.json"
  "healthTls" (include "mopt.healthTls" . | mustFromJson)
  "leaderElection" (dict "namespace" (include "mopt.namespace" .) "name" (include "mopt.leaseName" .))
  "workers" (.Values.workers | default 16)
  "kubeApi" (include "mopt.kubeApi" .Values.kubeApi | mustFromJson)
  "ttlSecondsAfterFinished" .Values.ttlSecondsAfterFinished
  | toPrettyJson -}}
{{- end -}}
