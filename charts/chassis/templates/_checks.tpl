{{- /* chassis.checks: fails for values that a schema cannot see to be wrong, since each by itself is right */ -}}
{{- define "chassis.checks" -}}
{{- $faults := list -}}
{{- $values := .Values -}}
{{- $database := compact (list
  (ternary "database.url" "" (ne $values.database.url ""))
  (ternary "database.existingSecret" "" (ne $values.database.existingSecret ""))
  (ternary "database.cloudNativePG" "" (ne $values.database.cloudNativePG ""))) -}}
{{- if and $values.postgresql.enabled $database -}}
{{- $faults = append $faults (printf "%s: is without effect while postgresql.enabled is true; set that to false" (first $database)) -}}
{{- else if not (or $values.postgresql.enabled $database) -}}
{{- $faults = append $faults "postgresql.enabled is false: set database.url, database.existingSecret or database.cloudNativePG" -}}
{{- else if gt (len $database) 1 -}}
{{- $faults = append $faults (printf "%s: set one of them" (join " and " $database)) -}}
{{- end -}}

{{- $outside := compact (list (ternary "ingress" "" $values.ingress.enabled) (ternary "httpRoute" "" $values.httpRoute.enabled)) -}}
{{- if and $values.ingress.enabled (not $values.ingress.hosts) -}}
{{- $faults = append $faults "ingress.hosts: must name at least one host when ingress.enabled is true" -}}
{{- end -}}
{{- if and $values.httpRoute.enabled (not $values.httpRoute.parentRefs) -}}
{{- $faults = append $faults "httpRoute.parentRefs: must name at least one Gateway when httpRoute.enabled is true" -}}
{{- end -}}
{{- with $values.networkPolicy -}}
{{- if and .enabled (not .anyNamespace) $outside (not .ingressNamespace) (not .from) -}}
{{- $faults = append $faults (printf "networkPolicy.ingressNamespace: must name the namespace of the ingress controller or Gateway when %s.enabled is true, or networkPolicy.from say who else calls" (first $outside)) -}}
{{- end -}}
{{- end -}}
{{- if and $values.service.nodePort (eq $values.service.type "ClusterIP") -}}
{{- $faults = append $faults "service.nodePort: is without effect when service.type is ClusterIP" -}}
{{- end -}}
{{- if and $values.metrics.serviceMonitor.enabled (ne $values.service.type "ClusterIP") -}}
{{- $faults = append $faults (printf "metrics.serviceMonitor.enabled: a Service of type %s has no port for metrics; use metrics.podMonitor" $values.service.type) -}}
{{- end -}}
{{- if and $values.metrics.serviceMonitor.enabled $values.metrics.podMonitor.enabled -}}
{{- $faults = append $faults "metrics.podMonitor.enabled and metrics.serviceMonitor.enabled: each pod would be scraped twice" -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas)) -}}
{{- $faults = append $faults "autoscaling.minReplicas: must not be more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and (has (toString $values.updateStrategy.maxUnavailable) (list "0" "0%")) (has (toString $values.updateStrategy.maxSurge) (list "0" "0%")) -}}
{{- $faults = append $faults "updateStrategy.maxSurge: must be more than 0 when updateStrategy.maxUnavailable is 0" -}}
{{- end -}}
{{- range $claim := list "issuer" "audience" -}}
{{- if and $values.jwt.jwksUrl (not (get $values.jwt $claim)) -}}
{{- $faults = append $faults (printf "jwt.%s: must be set, since jwt.jwksUrl is" $claim) -}}
{{- end -}}
{{- end -}}
{{- if and $values.tracing.headers.existingSecret (not $values.tracing.endpoint) -}}
{{- $faults = append $faults "tracing.headers.existingSecret: is without effect while tracing.endpoint is empty" -}}
{{- end -}}
{{- $least := add $values.preStopSeconds 25 -}}
{{- if lt (int $values.terminationGracePeriodSeconds) (int $least) -}}
{{- $faults = append $faults (printf "terminationGracePeriodSeconds: must be at least preStopSeconds and 25 s for the requests under way, %d" $least) -}}
{{- end -}}
{{- $known := list "imageRegistry" "imagePullSecrets" -}}
{{- if has (splitList "/" .Template.BasePath | first) (list "tandem" .Chart.Name) -}}
{{- range $key, $_ := $values.global -}}
{{- if not (has $key $known) -}}
{{- $faults = append $faults (printf "global.%s: is not one of %s" $key (join ", " $known)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $faults -}}
{{- fail (printf "\n%s" (join "\n" .)) -}}
{{- end -}}
{{- end }}
