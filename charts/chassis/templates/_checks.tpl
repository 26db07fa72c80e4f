{{- /*
chassis.checks: renders nothing. Fails if values contradict each other, which values.schema.json cannot express because
each value alone is valid. The message lists all errors, one a line, each with the path of the value.
*/ -}}
{{- define "chassis.checks" -}}
{{- $errors := list -}}
{{- $values := .Values -}}
{{- $database := list -}}
{{- range $name := list "url" "existingSecret" "cloudNativePG" "migrationUrl" "migrationExistingSecret" -}}
{{- if get $values.database $name -}}{{- $database = append $database (printf "database.%s" $name) -}}{{- end -}}
{{- end -}}
{{- $migration := without $database "database.url" "database.existingSecret" -}}
{{- $service := without $database "database.migrationUrl" "database.migrationExistingSecret" -}}
{{- if and $values.postgresql.enabled $database -}}
{{- $errors = append $errors (printf "%s: has no effect while postgresql.enabled is true; set postgresql.enabled to false or remove this value" (first $database)) -}}
{{- else if not (or $values.postgresql.enabled $database) -}}
{{- $errors = append $errors "postgresql.enabled is false: set database.url, database.existingSecret or database.cloudNativePG" -}}
{{- else if and $database (not $service) -}}
{{- $errors = append $errors (printf "%s: set database.url or database.existingSecret too, for the role that serves" (first $database)) -}}
{{- else if and (gt (len $service) 1) (ne (join " " $service) "database.existingSecret database.cloudNativePG") -}}
{{- $errors = append $errors (printf "%s: set only one of them" (join " and " $service)) -}}
{{- else if gt (len $migration) 1 -}}
{{- $errors = append $errors (printf "%s: set only one of them" (join " and " $migration)) -}}
{{- else if and $values.database.migrationUrl (not $values.database.url) -}}
{{- $errors = append $errors "database.migrationUrl: set database.url too, or use database.migrationExistingSecret" -}}
{{- end -}}

{{- $digits := trimPrefix "sha256:" $values.image.digest -}}
{{- if and $digits (eq $digits (repeat 64 (substr 0 1 $digits))) -}}
{{- $errors = append $errors (printf "image.digest: %s is a placeholder; set the digest of your image, or remove this value" $values.image.digest) -}}
{{- end -}}

{{- $entryPoints := compact (list (ternary "ingress" "" $values.ingress.enabled) (ternary "httpRoute" "" $values.httpRoute.enabled)) -}}
{{- if and $values.ingress.enabled (not $values.ingress.hosts) -}}
{{- $errors = append $errors "ingress.hosts: must contain at least one host when ingress.enabled is true" -}}
{{- end -}}
{{- if and $values.httpRoute.enabled (not $values.httpRoute.parentRefs) -}}
{{- $errors = append $errors "httpRoute.parentRefs: must contain at least one Gateway when httpRoute.enabled is true" -}}
{{- end -}}
{{- with $values.networkPolicy -}}
{{- if and .enabled (not .anyNamespace) $entryPoints (not .ingressNamespace) (not .from) -}}
{{- $errors = append $errors (printf "networkPolicy.ingressNamespace: set it to the namespace of the ingress controller or Gateway, or list the callers in networkPolicy.from, because %s.enabled is true and networkPolicy.anyNamespace is false" (first $entryPoints)) -}}
{{- end -}}
{{- end -}}
{{- if and $values.service.nodePort (eq $values.service.type "ClusterIP") -}}
{{- $errors = append $errors "service.nodePort: has no effect while service.type is ClusterIP" -}}
{{- end -}}
{{- if and $values.metrics.serviceMonitor.enabled (ne $values.service.type "ClusterIP") -}}
{{- $errors = append $errors (printf "metrics.serviceMonitor.enabled: a Service of type %s does not expose the metrics port; use metrics.podMonitor" $values.service.type) -}}
{{- end -}}
{{- if and $values.metrics.serviceMonitor.enabled $values.metrics.podMonitor.enabled -}}
{{- $errors = append $errors "metrics.podMonitor.enabled and metrics.serviceMonitor.enabled: set only one of them, or each pod is scraped twice" -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas)) -}}
{{- $errors = append $errors "autoscaling.minReplicas: must not be greater than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and (has (toString $values.updateStrategy.maxUnavailable) (list "0" "0%")) (has (toString $values.updateStrategy.maxSurge) (list "0" "0%")) -}}
{{- $errors = append $errors "updateStrategy.maxSurge: must be greater than 0 when updateStrategy.maxUnavailable is 0" -}}
{{- end -}}
{{- range $claim := list "issuer" "audience" -}}
{{- if and $values.jwt.jwksUrl (not (get $values.jwt $claim)) -}}
{{- $errors = append $errors (printf "jwt.%s: must be set when jwt.jwksUrl is set" $claim) -}}
{{- end -}}
{{- end -}}
{{- if and $values.tracing.headers.existingSecret (not $values.tracing.endpoint) -}}
{{- $errors = append $errors "tracing.headers.existingSecret: has no effect while tracing.endpoint is empty" -}}
{{- end -}}
{{- $minimum := add $values.preStopSeconds 25 -}}
{{- if lt (int $values.terminationGracePeriodSeconds) (int $minimum) -}}
{{- $errors = append $errors (printf "terminationGracePeriodSeconds: must be at least %d seconds, which is preStopSeconds plus 25 s to finish requests in progress" $minimum) -}}
{{- end -}}
{{- /* Any other parent chart may define globals of its own, so they are checked only if this chart or tandem is on top. */ -}}
{{- $known := list "imageRegistry" "imagePullSecrets" -}}
{{- if has (splitList "/" .Template.BasePath | first) (list "tandem" .Chart.Name) -}}
{{- range $key, $_ := $values.global -}}
{{- if not (has $key $known) -}}
{{- $errors = append $errors (printf "global.%s: is unknown; known are %s" $key (join ", " $known)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $errors -}}
{{- fail (printf "\n%s" (join "\n" .)) -}}
{{- end -}}
{{- end }}
